"""The one place where librdkafka's errors become ours, which say what the caller must do.

One table; the first row that fits counts. It is made for librdkafka 2.16.0, and a test provokes each row that a broker's
answer can (`tests/contract/test_error_table.py`). The same code means different things at different moments, so every
caller says what it tried (`Attempt`).

Two outcomes recover a transaction. Both continue from the offsets that the broker has, never from our own memory:

* `Migrated`: abort_transaction(), and the same producer goes on;
* `Uncertain`: the producer is useless, because it failed for good or may have committed: close it, create another with the
  same transactional id, and init_transactions(), which ends what the old one left.

Texts name topics, partitions, offsets and brokers, never a record's key or value.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException

from stream_scrub.errors import (
    Corrupt,
    Migrated,
    Refused,
    ScrubError,
    TakenOver,
    TooLarge,
    Unavailable,
    Uncertain,
    Unwritable,
)

_FATAL_TEXT = "Fatal error: "  # librdkafka's rd_kafka_set_fatal_error0
# The fate of the other records when a transaction fails; the reason is more interesting.
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_TEXT_MAX = 400  # librdkafka's sentence may list every partition of a batch
_GRANT = "grant it (docs/reference/rights.md)"


class Attempt(StrEnum):
    """What the client was asked to do when it failed: the first word of an error's text."""

    OPENING = "opening"  # init_transactions
    BEGINNING = "beginning"
    EMITTING = "emitting"  # produce(), and a delivery report, which carries no flags
    COMMITTING = "committing"  # send_offsets_to_transaction() and commit_transaction()
    PUBLISHING = "publishing"  # begin to commit, to the log
    ABORTING = "aborting"
    CONSUMING = "consuming"  # as a member of the group
    FOLLOWING = "following"  # the log, as a member of none
    ASKING = "asking"  # metadata, committed offsets, admin


_MOMENTS = frozenset(Attempt)
_ENDING = frozenset({Attempt.COMMITTING, Attempt.PUBLISHING})
_TRANSACTION = _ENDING | {Attempt.BEGINNING, Attempt.EMITTING, Attempt.ABORTING}
_READING = frozenset({Attempt.CONSUMING, Attempt.FOLLOWING})


class ErrorRow(NamedTuple):
    """One row."""

    outcome: type[ScrubError]
    sentence: str
    codes: tuple[str, ...] = ()  # names in KafkaError; empty: any
    during: frozenset[Attempt] = frozenset()  # empty: any
    flag: str = ""  # as the client sets it; empty: any


TABLE: tuple[ErrorRow, ...] = (
    # -- No retry and no new producer helps: the operator must change something. Before the flags: the broker's answer
    #    makes some of these fatal and some abortable, and both would be retried for ever.
    ErrorRow(
        Refused,
        f"the right to WRITE to the topic is missing: {_GRANT}",
        ("TOPIC_AUTHORIZATION_FAILED",),
        frozenset({Attempt.EMITTING, Attempt.PUBLISHING}),
    ),
    ErrorRow(
        Refused,
        f"the right to READ the topic is missing: {_GRANT}",
        ("TOPIC_AUTHORIZATION_FAILED",),
        _READING,
    ),
    ErrorRow(
        Refused,
        f"the right to DESCRIBE the topic is missing, which READ or WRITE includes: {_GRANT}",
        ("TOPIC_AUTHORIZATION_FAILED",),
        frozenset({Attempt.ASKING}),
    ),
    # At commit it may be an output's, from AddPartitionsToTxn or Produce, or the input's, from TxnOffsetCommit.
    ErrorRow(
        Refused,
        f"the right to WRITE to an output topic or to READ the input is missing: {_GRANT}",
        ("TOPIC_AUTHORIZATION_FAILED",),
    ),
    ErrorRow(
        Refused,
        f"the right to READ the group ([worker] group_id, for requests [lists] requests_group) is missing: {_GRANT}",
        ("GROUP_AUTHORIZATION_FAILED",),
    ),
    ErrorRow(
        Refused,
        f"the right to WRITE to the transactional id is missing: {_GRANT}",
        ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED",),
    ),
    ErrorRow(
        Refused,
        "the right to write idempotently (IDEMPOTENT_WRITE on the cluster, before Kafka 2.8), "
        f"or to describe or create is missing: {_GRANT}",
        ("CLUSTER_AUTHORIZATION_FAILED",),
    ),
    ErrorRow(
        Refused,
        "the broker does not accept these credentials (sasl.* in [kafka] client)",
        (
            "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE",
            "UNACCEPTABLE_CREDENTIAL", "SECURITY_DISABLED",
        ),
    ),
    ErrorRow(Refused, "no trusted connection (security.protocol and ssl.* in [kafka] client)", ("_SSL",)),
    ErrorRow(
        Refused,
        "no such topic or partition: run `stream-scrub topics`, which creates it if it never existed",
        ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_ID", "TOPIC_EXCEPTION"),
    ),
    # The client's own code, while it does not know the topic: nobody asked as a member of a group.
    ErrorRow(
        Unavailable,
        "no such topic or partition: run `stream-scrub topics`, which creates it if it never existed",
        ("_UNKNOWN_PARTITION",),
        frozenset({Attempt.ASKING}),
    ),
    ErrorRow(
        Refused,
        "transaction.timeout.ms is above the broker's transaction.max.timeout.ms",
        ("INVALID_TRANSACTION_TIMEOUT",),
    ),
    ErrorRow(
        Refused,
        "session.timeout.ms is outside what the broker allows (group.min.session.timeout.ms and its max)",
        ("INVALID_SESSION_TIMEOUT",),
    ),
    ErrorRow(
        Refused,
        'the broker is too old: transactions need Kafka 2.5, [kafka] group_protocol = "consumer" needs 4.0',
        ("UNSUPPORTED_VERSION", "_UNSUPPORTED_FEATURE", "UNSUPPORTED_FOR_MESSAGE_FORMAT", "UNSUPPORTED_ASSIGNOR"),
    ),
    ErrorRow(
        Refused,
        "the group's other members use another protocol or assignor: stop them all, then start again",
        ("INCONSISTENT_GROUP_PROTOCOL", "INVALID_GROUP_ID"),
    ),
    ErrorRow(
        Refused,
        "the group has as many members as the brokers let in (group.max.size, with the new protocol group.consumer.max.size)",
        ("GROUP_MAX_SIZE_REACHED",),
    ),
    # Fatal for the consumer. The second of two gets this error: the first is alive, or was killed and its session is not
    # over yet. (With the classic protocol, where `options` refuses the setting, the first would get it.)
    ErrorRow(
        TakenOver,
        "a newer worker of the same group.instance.id has this one's place: give each its own",
        ("FENCED_INSTANCE_ID",),
        _READING | {Attempt.ASKING},
    ),
    ErrorRow(
        Refused,
        "another worker has the same group.instance.id, or one that was killed still counts as alive",
        ("UNRELEASED_INSTANCE_ID",),
        _READING | {Attempt.ASKING},
    ),
    ErrorRow(Refused, "the settings are not accepted", ("_INVALID_ARG", "INVALID_CONFIG", "POLICY_VIOLATION")),
    # -- Offsets that were never read are gone, or bytes are not what was written.
    ErrorRow(
        Corrupt,
        "offsets that were never read are gone from the log",
        ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE", "_LOG_TRUNCATION"),
    ),
    ErrorRow(Corrupt, "a batch is damaged", ("_BAD_MSG", "_BAD_COMPRESSION", "INVALID_MSG"), _READING),
    # -- From produce() without a flag when over the client's message.max.bytes, else abortable from the broker.
    #    The broker's refusal leaves a gap in the sequence: the next transaction fails once more, abortable.
    ErrorRow(TooLarge, "a record is over the topic's limit", ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE")),
    # -- For what single records are: without a key on a compacted topic, with a timestamp out of its bounds.
    ErrorRow(
        Unwritable,
        "a record is refused for what it is",
        ("INVALID_RECORD", "INVALID_TIMESTAMP", "_INVALID_DIFFERENT_RECORD"),
        _TRANSACTION,
    ),
    # -- Fatal: the producer accepts nothing any more. `_FENCED` says too little to stop: librdkafka gives it for
    #    a transaction that outlived transaction.timeout.ms as well, and the offsets' generation check keeps us safe.
    ErrorRow(Unavailable, "the consumer has failed for good, and is re-created", (), _READING, flag="fatal"),
    ErrorRow(
        Uncertain,
        "the producer was fenced: another process uses this --id (give each its own), or the transaction outlived its timeout",
        ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"),
        flag="fatal",
    ),
    ErrorRow(Uncertain, "the client failed for good", flag="fatal"),
    # -- Abortable. At commit only those that come from before the commit request was sent: the client repeats that
    #    request by itself, so an error in its answer does not say that an earlier try was not applied.
    ErrorRow(
        Migrated,
        "the topic has fewer partitions than the prospects: give it as many (`stream-scrub topics --check`)",
        ("_UNKNOWN_PARTITION",),
        frozenset({Attempt.EMITTING}),
    ),
    ErrorRow(
        Migrated,
        "the partitions or the generation are no longer ours",
        (
            "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID", "STALE_MEMBER_EPOCH", "FENCED_MEMBER_EPOCH",
            "REBALANCE_IN_PROGRESS", "_ASSIGNMENT_LOST", "_MAX_POLL_EXCEEDED", "_UNKNOWN_PARTITION",
        ),
    ),
    ErrorRow(
        Migrated,
        "a record of this transaction was not written",
        (
            "TRANSACTION_ABORTABLE", "OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID", "INVALID_TXN_STATE",
            "PRODUCER_FENCED", "_FENCED", "_INCONSISTENT", "_MSG_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT",
        ),
        flag="abort",
    ),
    ErrorRow(Uncertain, "whether it was committed is unknown", during=_ENDING, flag="abort"),
    ErrorRow(Migrated, "the transaction must be aborted", flag="abort"),
    # -- No flag that helps. A commit that timed out is `retriable`, but abort_transaction() then says _CONFLICT, and
    #    with protocol v1 a late commit may land in a later transaction: only a new producer's init is sure to end it.
    ErrorRow(Uncertain, "whether it was committed is unknown", during=_ENDING),
    # -- _STATE from produce(), send_offsets and begin, anything from abort: the producer's state is not what we think.
    ErrorRow(Uncertain, "the producer is in an unknown state", during=_TRANSACTION),
    # -- Nothing was begun: ask again. CONCURRENT_TRANSACTIONS at the start is a predecessor's transaction being ended.
    ErrorRow(Unavailable, "no broker answers now"),
)  # fmt: skip


def translate(error: KafkaException | KafkaError, doing: str) -> ScrubError:
    """The error to raise for what the client raised or reported while `doing`.

    The first word of `doing` is an Attempt, which selects rows (any other counts as `asking`); the rest may name the place,
    as in "following opposition.log [0] at offset 12". Never raises; the caller adds `from error`.
    """
    cause = cause_of(error)
    first = doing.split(" ", 1)[0]
    row = _row(cause, first if first in _MOMENTS else Attempt.ASKING)
    return row.outcome(f"{doing}: {row.sentence} ({cause.name()}: {cause.str()[:_TEXT_MAX]})")


def cause_of(error: KafkaException | KafkaError) -> KafkaError:
    """The KafkaError inside, made up when a binding's exception carries something else.

    That a client has failed for good arrives as a message whose code is `_FATAL` and which does not say that it is fatal:
    what it failed of stands in its text alone.
    """
    inner = error if isinstance(error, KafkaError) else error.args[0] if error.args else None
    if not isinstance(inner, KafkaError):
        return KafkaError(KafkaError._FAIL, str(error))
    if inner.code() != KafkaError._FATAL:
        return inner
    text = inner.str()
    of = next(
        (code for sentence, code in _sentences() if text.startswith(_FATAL_TEXT + sentence)), inner.code()
    )
    return KafkaError(of, text, fatal=True)


@cache
def _sentences() -> list[tuple[str, int]]:
    """The client's sentence for each of its codes, the longest first: one may begin with another."""
    names = [name for name in dir(KafkaError) if name.lstrip("_")[:1].isupper()]
    found = {KafkaError(code).str(): code for code in (getattr(KafkaError, name) for name in names)}
    return sorted(found.items(), key=lambda each: -len(each[0]))


@contextmanager
def translating(doing: str) -> Iterator[None]:
    """Raise the error of `translate` for what the client raises in this block."""
    try:
        yield
    except KafkaException as error:
        raise translate(error, doing) from error


def fenced(error: KafkaException | KafkaError) -> bool:
    """Whether another producer of the same transactional id, or a transaction timeout, has ended this producer."""
    codes = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
    return cause_of(error).code() in codes


def place(topic: str | None, partition: int | None = None, offset: int | None = None) -> str:
    """A topic, partition and offset as every error text and log line writes them; what is unknown is left out."""
    named = topic or "no topic"
    if partition is not None and partition >= 0:
        named += f" [{partition}]"
    return f"{named} at offset {offset}" if offset is not None and offset >= 0 else named


def _row(error: KafkaError, doing: str) -> ErrorRow:
    code = error.code()
    flag = "fatal" if error.fatal() else "abort" if error.txn_requires_abort() else ""
    for row in TABLE:
        if row.codes and code not in (getattr(KafkaError, name) for name in row.codes):
            continue
        if (row.during and doing not in row.during) or (row.flag and row.flag != flag):
            continue
        return row
    raise AssertionError("the last row fits every error")
