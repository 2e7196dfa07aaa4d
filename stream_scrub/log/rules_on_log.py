"""The texts of rules on the log: a reader of an old stamp finds there the rule that its digest names.

Workers may only read the log. So publishers of lists add the rules that are missing.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from msgspec import UNSET, UnsetType

from stream_scrub.errors import Refused
from stream_scrub.log.apply import LogRules
from stream_scrub.log.encode import FULL_EVERY, PublishedDelta, rules_records
from stream_scrub.log.replay import RegisterView, Replay
from stream_scrub.log.scan import read_into
from stream_scrub.log.wire import RULES, DeltaSource
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Deadline, LogReader, LogRecord, LogWriter
from stream_scrub.rules import Archive, Rulebook, digest_of

HOW = "`stream-scrub rules publish` puts the rules in use on the log, and so does every import of a list"


def kept(rules: LogRules) -> Archive:
    """The texts on the log, as a replay with `digest_of` knows them."""
    return Archive(text for text in rules.texts.values() if text is not None)


def lacking(rules: LogRules, book: Rulebook) -> frozenset[str]:
    """The digests of rules in use whose texts are not on the log."""
    return frozenset(book.texts) - frozenset(rules.texts)


def read(reader: LogReader, known: RegisterView, deadline: Deadline) -> LogRules:
    """The rules at the log's end, with their texts. `known` is the rules' view from any replay of the log so far.

    Raises Corrupt, Unavailable, Refused; also when the log has been marked meanwhile.
    """
    replay = Replay.of_rules(known.span, digest_of)

    def take(record: LogRecord) -> None:
        if record.key == RULES.encode():
            replay.take(record)

    if known.span is not None:
        start, last = known.span
        read_into(reader, take, deadline, since=start, upto=last)
    read_into(reader, take, deadline, since=known.upto + 1)
    if (mark := replay.known("").log.mark) is not None:
        raise Refused(mark.why)
    return replay.rules


def put(
    writer: LogWriter,
    rules: LogRules,
    known: RegisterView,
    book: Rulebook,
    now: datetime,
    name: str,
    *,
    full_every: int = FULL_EVERY,
    made_by: MadeBy | UnsetType = UNSET,
) -> PublishedDelta | None:
    """Publish the texts that the log lacks; None if it has them all. `rules` are from `read`, called after the writer of
    `wire.RULES` was opened; `known` is from any replay before. `name` is the source on the seal.

    Raises what `LogWriter.publish` raises, and ConfigError if the log has another text under a digest.
    """
    texts: Mapping[str, bytes] = {digest_of(text): text for text in kept(rules).lacks(book)}
    if not texts:
        return None
    digest = sha256(b"".join(text for _, text in sorted(texts.items()))).hexdigest()
    source = DeltaSource(name, digest, made_by)
    records, seal = rules_records(rules, texts, now, source, known=known, full_every=full_every)
    return PublishedDelta(seal, writer.publish(records, after=max(known.upto, rules.position)))
