"""The texts of rules onto the log, so that whoever reads an old stamp finds the rule that its digest names.

Workers may only read the log, so whoever publishes lists puts there what is missing.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from stream_scrub.errors import Refused
from stream_scrub.lists.audit.register_audit import SingleRegisterReplay
from stream_scrub.lists.log.encode import FULL_EVERY, PublishedDelta, rules_records
from stream_scrub.lists.log.replay import LogRules, RegisterView, Replay
from stream_scrub.lists.log.scan import read_into
from stream_scrub.lists.log.wire import RULES, DeltaSource
from stream_scrub.model import Deadline, LogReader, LogRecord, LogWriter
from stream_scrub.rules import Archive, Rulebook, digest_of

HOW = "`stream-scrub rules publish` puts the rules in use on the log, and so does every import of a list"


def kept(rules: LogRules) -> Archive:
    """The texts on the log, as a replay with `digest_of` knows them."""
    return Archive(text for text in rules.texts.values() if text is not None)


def lacking(rules: LogRules, book: Rulebook) -> frozenset[str]:
    """The digests of rules in use whose texts are not on the log; any replay knows enough to tell."""
    return frozenset(book.texts) - frozenset(rules.texts)


def read(reader: LogReader, known: RegisterView, deadline: Deadline) -> LogRules:
    """The rules at the log's end, with their texts. Only the rules' own records are taken. `known` says where they are;
    it is the rules' view from any replay of the log so far. Raises Corrupt, Unavailable, Refused; also where a mark came
    meanwhile that keeps everybody from the log.
    """
    replay: Replay = SingleRegisterReplay(digest_of=digest_of)
    if known.span is not None:
        start, last = known.span
        replay = SingleRegisterReplay.since(RULES, known.span, digest_of=digest_of)
        read_into(reader, lambda record: _take(replay, record), deadline, since=start, upto=last)
    read_into(reader, lambda record: _take(replay, record), deadline, since=known.upto + 1)
    if (mark := replay.known("").log.mark) is not None:
        raise Refused(mark.why)
    return replay.rules


def _take(replay: Replay, record: LogRecord) -> None:
    if record.key == RULES.encode():
        replay.take(record)


def put(
    writer: LogWriter,
    rules: LogRules,
    known: RegisterView,
    book: Rulebook,
    now: datetime,
    name: str,
    *,
    full_every: int = FULL_EVERY,
) -> PublishedDelta | None:
    """Put the texts on the log that it lacks; None when it has them all. `rules` are with their texts, as `read` gives
    them after the writer of `wire.RULES` was opened. `known` is from any replay before. `name` says who puts them there.

    Raises what `LogWriter.publish` raises, and ConfigError when an older rule with another text has the same digest.
    """
    texts: Mapping[str, bytes] = {digest_of(text): text for text in kept(rules).lacks(book)}
    if not texts:
        return None
    source = DeltaSource(name, sha256(b"".join(text for _, text in sorted(texts.items()))).hexdigest())
    records, seal = rules_records(rules, texts, now, source, known=known, full_every=full_every)
    return PublishedDelta(seal, writer.publish(records))
