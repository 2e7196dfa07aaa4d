"""`rules publish`: keeps the texts of the rules in use on the log. Every import does it too."""

from contextlib import closing
from datetime import UTC, datetime

import msgspec

from stream_scrub import __version__
from stream_scrub.config import Settings
from stream_scrub.kafka import clients
from stream_scrub.log import rules_on_log
from stream_scrub.log.encode import PublishedDelta
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import RULES
from stream_scrub.model import Logger
from stream_scrub.ops import read_log
from stream_scrub.scrub import scrubbing


class RulesPublished(msgspec.Struct, frozen=True):
    """The digests of the rules in use, those that the log lacked and got, and the position of the delta that holds them
    (None: it had them all)."""

    rules: list[str]
    added: list[str]
    position: int | None


def run(settings: Settings, log: Logger) -> RulesPublished:
    """Put the texts of the rules in use on the log, as far as it lacks them. Raises as `keep_rules`."""
    replay, book = read_log.replayed(settings, log), scrubbing.law(settings)
    added = sorted(rules_on_log.lacking(replay.rules, book))
    published = keep_rules(settings, log, replay)
    return RulesPublished(sorted(book.texts), added, None if published is None else published.position)


def keep_rules(settings: Settings, log: Logger, replay: Replay) -> PublishedDelta | None:
    """Put the texts of the rules in use on the log, as far as it lacks them. Returns None, at no cost, when it has
    them all. `replay` has read the log to its end some time ago and is not changed. Blocks while it opens a writer
    and a reader of its own.

    Raises ConfigError, Corrupt, Unavailable, Refused, Uncertain; Migrated when somebody else puts them there now.
    """
    book = scrubbing.law(settings)
    if not rules_on_log.lacking(replay.rules, book):
        return None
    rules_view = replay.known(RULES)
    # From here on no one else puts rules there.
    brokers = clients.Brokers(settings, log)
    with closing(brokers.log_writer(RULES)) as writer:
        with brokers.reading() as reader:
            rules = rules_on_log.read(reader, rules_view, clients.deadline())
        name, now = f"stream-scrub {__version__}", datetime.now(UTC)
        every = settings.lists.full_every
        made_by = clients.made_by(settings)
        return rules_on_log.put(writer, rules, rules_view, book, now, name, full_every=every, made_by=made_by)
