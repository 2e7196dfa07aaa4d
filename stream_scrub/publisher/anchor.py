"""`lists anchor`: has the head of the log stamped by a third party, and keeps the timestamp on the log.

It is a seal of the rules that changes no rule, with the reason `anchored`. The seal has the head that its publisher had
read (`read`), with a timestamp. So an anchor lasts as long as the log, every reader passes over it, and the
chains cover it. Who rewrites the log needs new timestamps, which say that the new log is new.
"""

import base64
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from stream_scrub.clock import utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.kafka import clients
from stream_scrub.log.encode import anchored
from stream_scrub.log.wire import RULES, DeltaSource
from stream_scrub.model import Logger
from stream_scrub.ops import preflight, read_log
from stream_scrub.timestamps import Timestamps


class Anchored(msgspec.Struct, frozen=True):
    """An anchor: its position, the last seal that it proves, the log's chain there, the moment, and the timestamp (base64 of
    DER), to be kept elsewhere too."""

    position: int
    upto: int
    log_chain: str
    at: str
    timestamp: str


def run(settings: Settings, log: Logger) -> Anchored:
    """Anchor the log's head. Raises ConfigError, Corrupt, Unavailable, Refused, Uncertain, Migrated."""
    timestamps = Timestamps.of(settings.evidence)
    if timestamps is None:
        raise ConfigError(["evidence.timestamp_url: set the address of a timestamp server"])
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as there:
        preflight.need(there, brokers, "import")
        preflight.need_log(there, settings)
    with closing(brokers.log_writer(RULES)) as writer:
        replay = read_log.replayed(settings, log)
        rules_view = replay.known(RULES)
        head = rules_view.log.read
        if head.upto < 0:
            raise Refused(f"{settings.topics.log} is empty: there is nothing to anchor")
        answer, at = timestamps.stamp(head.log_chain.encode())
        made_by = clients.made_by(settings)
        source = DeltaSource(settings.evidence.timestamp_url, sha256(answer).hexdigest(), made_by)
        timestamp = base64.b64encode(answer).decode()
        records = anchored(replay.rules, timestamp, source, datetime.now(UTC), rules_view)
        position = writer.publish(records, after=rules_view.upto)
    return Anchored(position, head.upto, head.log_chain, utc_seconds(at), timestamp)
