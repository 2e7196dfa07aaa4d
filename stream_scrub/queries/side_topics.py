"""The records of other topics about a number: attempts to call it, recalls, and deliveries to other systems.

Kafka's time index says where to begin. The partition of a number is not looked up: others may write attempts with any
key, and a topic may have got more partitions.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from stream_scrub import recall_notice
from stream_scrub.clock import from_millis, from_seconds, parse_zoned
from stream_scrub.config import Settings
from stream_scrub.fanout import receipt as receipts
from stream_scrub.fanout.receipt import FanoutReceipt
from stream_scrub.kafka import clients
from stream_scrub.kafka.admin.topics import TopicDescription
from stream_scrub.languages import translatable
from stream_scrub.model import Logger, LogRecord, PartitionKey, Progress
from stream_scrub.numbering import e164
from stream_scrub.ops.scrubbed_files import ScrubbedFile
from stream_scrub.queries.committed_offsets import records_between
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.requests import attempts as reported
from stream_scrub.requests.attempts import AttemptReader, CallAttempt
from stream_scrub.scrub.facts import campaigns_of

Read = TypeVar("Read")
_SHOWN = 1_000  # records from one sign of progress to the next


class ReportedAttempt(NamedTuple):
    """An attempt to call, or a refusal. `at`: when the call began, as it counts. `campaigns`: as they are compared.
    `record`: without members that the dialler added: other people may be in them."""

    partition: int
    offset: int
    at: datetime
    attempt: CallAttempt
    campaigns: list[str]
    record: msgspec.Raw


class TopicKept(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days Kafka keeps a topic's records (None: for good, or unknown), and the moment of the oldest that is left
    if it has deleted older ones. What was before that moment may be gone."""

    topic: str
    holds: str
    keep_days: float | None
    oldest: datetime | None = None


class SideRecords(NamedTuple):
    """What was found. `kept`: the topics that exist, by name. `scrubbed`: the files that the server here scrubbed; None if it
    keeps no ledger. `read_proofs`: the digests of the proofs whose results were read."""

    attempts: list[ReportedAttempt]
    notices: list[RecallNotice]
    deliveries: list[FanoutReceipt]
    kept: Mapping[str, TopicKept]
    scrubbed: Sequence[ScrubbedFile] | None = None
    read_proofs: Collection[str] = ()


def of_number(
    settings: Settings, log: Logger, number: int, since: datetime, progress: Progress
) -> SideRecords:
    """Return what the topics hold on a number from that moment on, and every suspension of a register. Raises
    Unavailable, Refused."""
    topics = settings.topics
    with clients.Brokers(settings, log).topics() as there:
        names = [topics.attempts, topics.recalled, topics.receipts, topics.dead]
        topic_states = there.describe(names, clients.deadline())
    topics_kept: dict[str, TopicKept] = {}

    def read(topic: str, holds: str, reading: Callable[[int, LogRecord], Read | None]) -> list[Read]:
        """What `reading` makes of the topic's records, and what the topic keeps; nothing of one that does not exist."""
        if topic not in topic_states:
            return []
        reads, oldest = list[Read](), None
        partitions = topic_states[topic].partitions
        for partition, record, is_oldest in records_since(settings, log, topic, partitions, since, progress):
            if is_oldest:
                oldest_kept = None if record is None else from_millis(record.timestamp_ms)
                oldest_kept = oldest_kept or datetime.now(UTC)
                oldest = oldest_kept if oldest is None else max(oldest, oldest_kept)
            if record is not None and (one := reading(partition, record)) is not None:
                reads.append(one)
        topics_kept[topic] = TopicKept(
            topic=topic, holds=holds, keep_days=keep_days(topic_states[topic]), oldest=oldest
        )
        return reads

    typed = e164(number)
    attempts = read(
        topics.attempts, translatable("attempts to call, and refusals"), _attempt_reader(settings, number)
    )
    notices = read(topics.recalled, translatable("recalls"), lambda _, record: _notice(record, typed))
    deliveries = [
        receipt
        for topic in (topics.receipts, topics.dead)
        for receipt in read(
            topic, translatable("deliveries to other systems"), lambda _, each: _receipt(each, typed)
        )
    ]
    return SideRecords(
        sorted(attempts, key=lambda each: (each.at, each.partition, each.offset)),
        sorted(notices, key=lambda each: parse_zoned(each.at)),
        sorted(deliveries, key=lambda each: each.at),
        topics_kept,
    )


def records_since(
    settings: Settings, log: Logger, topic: str, partitions: int, since: datetime, progress: Progress
) -> Iterator[tuple[int, LogRecord | None, bool]]:
    """Yield the records from the first one with that timestamp on, by partition, and whether it is the oldest one that is left
    of a partition that lost older ones. It is None if none is left. Raises Unavailable, Refused."""
    keys: list[PartitionKey] = [(topic, partition) for partition in range(partitions)]
    brokers = clients.Brokers(settings, log)
    asking = brokers.output_reader([topic], settings.worker.group_id)
    try:
        begin = asking.since(keys, since, clients.deadline())
    finally:
        asking.close()
    for key in keys:
        with brokers.reading(*key) as reader:
            first, end = reader.bounds()
            # No record is as late as that moment if all are older, or if none is left.
            start = max(first, begin.get(key, end))
            is_oldest = 0 < first == start
            for count, record in enumerate(records_between(reader, start, end, f"records of {topic}")):
                if count % _SHOWN == 0:
                    progress(f"searching {topic}", record.offset - start, end - start)
                yield key[1], record, is_oldest
                is_oldest = False
            if is_oldest:
                yield key[1], None, True


def keep_days(described: TopicDescription) -> float | None:
    """For how many days Kafka keeps the records of a topic; None: for good, or unknown."""
    kept_ms = int(described.config.get("retention.ms", "-1") or -1)
    return None if kept_ms < 0 else round(kept_ms / 86_400_000, 1)


def _attempt_reader(settings: Settings, number: int) -> Callable[[int, LogRecord], ReportedAttempt | None]:
    reader = AttemptReader(settings.prospect.default_region, settings.prospect.professionals)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)

    def read(partition: int, record: LogRecord) -> ReportedAttempt | None:
        # As the publisher reads it (`requests.rested_numbers`): a producer may set any timestamp.
        attempt = reader.read(record.value, min(record.timestamp_ms or 0, now_ms))
        if not isinstance(attempt, CallAttempt) or attempt.number != number:
            return None
        at, report = from_seconds(attempt.at), reported.decode(record.value or b"")
        assert at is not None, "an attempt has a moment"
        return ReportedAttempt(
            partition=partition,
            offset=record.offset,
            at=at,
            attempt=attempt,
            campaigns=list(campaigns_of(report.campaign)),
            record=msgspec.Raw(msgspec.json.encode(report)),
        )

    return read


def notice_in(record: LogRecord) -> RecallNotice | None:
    """A recall, or a register that became unusable or usable again; None for any other record."""
    try:
        notice = recall_notice.decode(record.value or b"")
        parse_zoned(notice.at)
    except (ValueError, RecursionError):
        return None
    if notice.kind == "alive" or (notice.number and not notice.number[1:].isdecimal()):
        return None
    return notice


def _notice(record: LogRecord, typed: str) -> RecallNotice | None:
    notice = notice_in(record)
    return notice if notice is None or notice.kind != "recalled" or notice.number == typed else None


def _receipt(record: LogRecord, typed: str) -> FanoutReceipt | None:
    try:
        receipt = receipts.decode(record.value or b"")
        parse_zoned(receipt.at)
    except (ValueError, RecursionError):
        return None
    return receipt if receipt.number == typed else None
