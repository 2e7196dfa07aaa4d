"""The embedded broker with faults: it answers with errors, drops connections, loses a leader or records."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_int64, c_size_t, c_void_p

from stream_scrub.kafka.embedded import EmbeddedKafka, Librdkafka
from tests.support.network.proxy import Api

ALL_BROKERS = -1
DISCONNECT = -195  # push_errors with this code drops the connection instead of answering
_SIGNATURES = {
    "rd_kafka_mock_push_request_errors_array": (None, (c_void_p, c_int16, c_size_t, POINTER(c_int))),
    "rd_kafka_mock_clear_request_errors": (None, (c_void_p, c_int16)),
    "rd_kafka_mock_broker_set_down": (c_int, (c_void_p, c_int32)),
    "rd_kafka_mock_broker_set_up": (c_int, (c_void_p, c_int32)),
    "rd_kafka_mock_broker_set_rtt": (c_int, (c_void_p, c_int32, c_int)),
    "rd_kafka_mock_partition_set_leader": (c_int, (c_void_p, c_char_p, c_int32, c_int32)),
    "rd_kafka_mock_partition_delete_records": (c_int, (c_void_p, c_char_p, c_int32, c_int64)),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, (c_void_p, c_int)),
}


class FaultyKafka(EmbeddedKafka):
    """The same mock cluster. Every fault is injected from the test's own process."""

    def __init__(self, *, brokers: int = 1) -> None:
        super().__init__(brokers=brokers)
        self._faults = Librdkafka(_SIGNATURES)

    def push_errors(self, api: Api, codes: Sequence[int]) -> None:
        """Answer the next requests of this type with these codes, one each. None of these requests takes effect.

        DISCONNECT drops the connection. A code that the client retries is answered anew until the codes run out.
        """
        self._faults.mock_push_request_errors_array(
            self._cluster, api, len(codes), (ctypes.c_int * len(codes))(*codes)
        )

    def clear_errors(self, api: Api) -> None:
        """Forget the errors that were pushed onto this request type and are not used yet."""
        self._faults.mock_clear_request_errors(self._cluster, api)

    def set_session_timeout(self, milliseconds: int) -> None:
        """Set how long a silent member of a group with the new protocol keeps its partitions."""
        self._faults.mock_set_group_consumer_session_timeout_ms(self._cluster, milliseconds)

    def set_round_trip(self, milliseconds: int) -> None:
        """Delay every answer by this much."""
        self._faults.mock_broker_set_rtt(self._cluster, ALL_BROKERS, milliseconds)

    def set_down(self) -> None:
        """Drop every connection and accept no more, like a cluster that is away."""
        self._faults.mock_broker_set_down(self._cluster, ALL_BROKERS)

    def set_up(self) -> None:
        """Accept connections again."""
        self._faults.mock_broker_set_up(self._cluster, ALL_BROKERS)

    def set_leader(self, topic: str, partition: int, broker: int | None) -> None:
        """Set which broker leads a partition, by its number from 1 on. None: no broker, as after a crash."""
        self._faults.mock_partition_set_leader(self._cluster, topic.encode(), partition, broker or -1)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Forget the records under this offset, as retention does."""
        self._faults.mock_partition_delete_records(self._cluster, topic.encode(), partition, before)
