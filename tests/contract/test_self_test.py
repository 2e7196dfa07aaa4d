"""The self-test that the extension must pass before it takes and emits a worker's records."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from stream_scrub.kafka import self_test
from stream_scrub.kafka.client import repeated_requests

native = pytest.importorskip("stream_scrub_native")


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing is remembered from before the test, nor after it."""
    self_test.fault.cache_clear()
    repeated_requests.plugin.cache_clear()
    yield
    monkeypatch.undo()
    self_test.fault.cache_clear()
    repeated_requests.plugin.cache_clear()


def test_the_installed_extension_passes():
    """Every worker would go without it, at twice the cost."""
    assert self_test.fault() == ""


def test_pyproject_allows_no_librdkafka_that_the_extension_does_not_know():
    """An installation by the book would be twice as slow."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    least, below = re.search(r'"confluent-kafka>=(\d+\.\d+)\.\d+,<(\d+\.\d+)"', text).groups()
    assert f"{least}." == self_test.LIBRDKAFKA
    assert [int(part) for part in below.split(".")] == [
        int(part) + at for at, part in enumerate(least.split("."))
    ]


def test_another_librdkafka_is_not_tried(monkeypatch):
    """Its messages may lie in memory in another way: the process would die instead of being slower."""
    monkeypatch.setattr(self_test, "librdkafka_version", lambda: "2.17.0")
    monkeypatch.setattr(self_test, "EmbeddedKafka", lambda: pytest.fail("tried"))
    assert "2.17.0" in self_test.fault()


def test_a_client_that_lacks_a_function_is_named_with_it(monkeypatch):
    """An operator could not tell why a worker is slow."""
    monkeypatch.setattr(repeated_requests, "cimpl", SimpleNamespace(__file__=msgspec._core.__file__))
    assert re.fullmatch(r"AttributeError: .*undefined symbol: rd_kafka_\w+", self_test.fault())


def test_a_client_that_is_not_handed_over_is_a_fault(monkeypatch):
    """The loop would take from no queue at all."""
    monkeypatch.setattr(repeated_requests.plugin(), "path", "/nowhere/else.so")
    assert "did not hand a client over" in self_test.fault()


class Changed:
    """Records of which one field is another."""

    def __init__(self, records, field):
        self._records, self._field = records, field

    def __len__(self):
        return len(self._records)

    def then(self, more):
        return Changed(self._records.then(more._records), self._field)

    def __getattr__(self, name):
        true = getattr(self._records, name)
        if name != self._field:
            return true
        change = {int: lambda value: value + 1, bytes: lambda value: value + b"\0", str: str.upper}
        change |= {list: lambda value: value[::-1], type(None): lambda _: b""}
        return lambda place: change[type(true(place))](true(place))


@pytest.mark.parametrize(
    "field", ["key", "value", "headers", "timestamp_ms", "offset", "partition", "topic", "fewer"]
)
def test_a_difference_in_what_is_taken_is_a_fault(monkeypatch, field):
    """Workers would judge something else than was sent, or commit another offset."""

    class Intake(native.Intake):
        def take(self, most, wait_ms):
            records, errors = super().take(most, wait_ms)
            fewer = records.part(0, len(records) - 1) if field == "fewer" else records
            return Changed(fewer, field), errors

    if field == "fewer":
        monkeypatch.setattr(self_test, "_WAIT_S", 4.0)  # the steps before it need some of it
    monkeypatch.setitem(
        sys.modules,
        "stream_scrub_native",
        SimpleNamespace(Intake=Intake, Outlet=native.Outlet, __spec__=native.__spec__),
    )
    differs = "what the extension took differs from what the client's binding read"
    assert re.fullmatch(r"TimeoutError: \d of 6 .+" if field == "fewer" else differs, self_test.fault())


@pytest.mark.parametrize(
    "part", ["numbers", "heads", "tails", "into_value", "others", "stripped", "event", "first"]
)
def test_a_difference_in_what_is_emitted_is_a_fault(monkeypatch, part):
    """Diallers would get other bytes, or another's stamp."""

    class Outlet(native.Outlet):
        def __new__(cls, token, owner, stripped, stamp_name):
            return super().__new__(cls, token, owner, [] if part == "stripped" else stripped, stamp_name)

        def emit(self, records, begin, topics, routes, numbers, ids, heads, tails, into_value, others, event):
            if part == "numbers":
                numbers = numbers - 1
            return super().emit(
                records,
                begin + (part == "first"),
                topics,
                routes,
                numbers,
                ids,
                [head[1:] for head in heads] if part == "heads" else heads,
                [tail + b"}" for tail in tails] if part == "tails" else tails,
                into_value is (part != "into_value"),
                {place: (b"", stamp) for place, (_, stamp) in others.items()} if part == "others" else others,
                None if part == "event" else event,
            )

    if part == "first":
        monkeypatch.setattr(self_test, "_WAIT_S", 4.0)  # the steps before it need some of it
    monkeypatch.setitem(
        sys.modules,
        "stream_scrub_native",
        SimpleNamespace(Intake=native.Intake, Outlet=Outlet, __spec__=native.__spec__),
    )
    differs = "what the extension emitted differs from what it was given"
    assert re.fullmatch(r"TimeoutError: \d+ of 24 .+" if part == "first" else differs, self_test.fault())
