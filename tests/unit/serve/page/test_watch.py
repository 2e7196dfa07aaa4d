"""What the page says of workers and publishers: by their own pages, or that they say nothing."""

import io
import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from stream_scrub.config import Http, load
from stream_scrub.model import Reason
from stream_scrub.ops import http_server
from stream_scrub.ops.logs import configure
from stream_scrub.ops.loop_state import RecallState
from stream_scrub.serve.page import overview
from stream_scrub.serve.watch import scrape as scraping
from stream_scrub.serve.watch import time_series, watcher
from stream_scrub.serve.watch.scrape import Address, LoopStatus, ScrapeError, scrape
from stream_scrub.serve.watch.time_series import FILE, TimeSeries
from stream_scrub.serve.watch.watcher import Watcher
from tests.support.fakes.process_status import publisher, worker

NOON = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)


@contextmanager
def pages(board):
    out = io.BytesIO()
    with http_server.serving(
        Http(listen="127.0.0.1:0"), board, lambda _: None, configure("info", "json", out)
    ):
        yield json.loads(out.getvalue().splitlines()[0])["port"]


def asked(port):
    return scrape(Address("127.0.0.1", port, "127.0.0.1"))


def loop(who="w1", lag=0.0, **verdicts):
    told = {reason: float(count) for reason, count in verdicts.items()}
    return LoopStatus("worker", who, ready=True, why="", do="", partitions=1, lag=lag, verdicts=told)


def test_processes_tell_what_they_do():
    """A supervisor would not see that a worker holds, or why, or that oppositions are unread."""
    collector, counters, _ = worker("w-0")
    counters.assigned, counters.lags = 3, {"a/0": 5, "b/0": 7}
    counters.emitted(Counter({Reason.OPPOSED: 4}), 0.1, 0.1, 0.1)
    other = worker("w-1")[0]
    with pages(lambda: [collector(), other()]) as port:
        told, second = asked(port)
        assert (told.side, told.identity, told.ready) == ("worker", "w-0", True)
        assert (told.partitions, told.lag) == (3, 12) and second.identity == "w-1"
        assert told.verdicts["opposed"] == 4 and told.verdicts["clear"] == 0
        counters.holding, counters.why = "log-open", "a transaction is open"
        told, _ = asked(port)
        assert not told.ready and told.why == "a transaction is open" and "end it" in told.do
    collector, counters, _ = publisher()
    counters.open = {"id/0/7", "id/1/3"}
    with pages(lambda: [collector()]) as port:
        (told,) = asked(port)
    assert (told.side, told.partitions, told.lag, told.unread) == ("publisher", None, None, 2)


@contextmanager
def hostile(metrics, ready=b'{"loops":[]}', before=b"", head=b"HTTP/1.0 200 OK"):
    """A page that says whatever it likes; `before` goes out a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer(connection):
            with connection, suppress(OSError):
                body = metrics if connection.recv(4096).split()[1] == b"/metrics" else ready
                for byte in before:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.01)
                connection.sendall(b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


READY = b'stream_scrub_ready{worker="w"} %s\n'
COUNTED = b'stream_scrub_prospects_total{worker="w",reason="%s",verdict="blocked"} %s\n'
LAG = b'stream_scrub_partition_lag_records{worker="w",partition="%d"} %s\n'
ASSIGNED = b'stream_scrub_partitions_assigned{worker="w"} %s\n'


@pytest.mark.parametrize(
    ("metrics", "ready", "head"),
    [
        (b"hello", b"hello", b"HTTP/1.0 200 OK"),
        (b"stream_scrub_ready x", b'{"loops":[]}', b"HTTP/1.0 200 OK"),
        (READY % b"1", b'{"loops":[]}', b"HTTP/1.0 500 No"),
        (READY % b"1", b'{"loops":[]}', b"\x00\xff"),
    ],
)
def test_what_is_no_process_of_ours_is_unheard(metrics, ready, head):
    """A wrong port would end the watching of all scraping."""
    with hostile(metrics, ready, head=head) as port, pytest.raises(ScrapeError):
        asked(port)


def test_a_page_that_drips_has_one_deadline(monkeypatch):
    """A page that sends a byte now and then would be waited for without end, and the server could not be stopped."""
    monkeypatch.setattr(scraping, "SCRAPE_S", 0.3)
    with hostile(READY % b"1", before=b"x" * 10_000) as port:
        began = time.monotonic()
        with pytest.raises(ScrapeError):
            asked(port)
        assert time.monotonic() - began < 20


def test_nobody_waits_for_a_page_or_a_name_that_gives_no_answer(monkeypatch):
    """One dead name would freeze what the page tells of all others, and keep the server from ending."""
    held = threading.Event()
    watching = rounds(monkeypatch, {"10.0.0.1": [loop("w1")]}, watch=["workers:8080", "dead:1"])
    found = scraping.addresses
    monkeypatch.setattr(
        scraping, "addresses", lambda host, port: held.wait(60) if host == "dead" else found(host, port)
    )
    monkeypatch.setattr(watcher, "_NAMES_S", 0.1)
    for _ in range(2):
        assert one_round(watching) == {
            "w1": ("ready", ""),
            "dead:1": ("no answer", "DNS lookup timed out"),
        }
    monkeypatch.setattr(scraping, "scrape", lambda _: held.wait(60))
    threading.Thread(target=watching.look, daemon=True).start()
    began = time.monotonic()
    watching.stop()
    assert time.monotonic() - began < 20
    assert all(each.daemon for each in threading.enumerate() if each.name == "scrape"), "the process ends"
    held.set()


@pytest.mark.parametrize("figure", [b"+Inf", b"-Inf", b"NaN", b"1e30", b"-1", b"1e999"])
def test_only_figures_that_can_be_are_counted(figure, tmp_path):
    """One worker's wrong figure would take the whole page away, and the day of all scraping."""
    page = READY % b"1" + COUNTED % (b"opposed", figure) + COUNTED % (b"clear", b"7")
    page += LAG % (0, figure) + LAG % (1, b"5") + ASSIGNED % figure
    with hostile(page) as port:
        (told,) = asked(port)
    assert (told.ready, told.verdicts, told.lag, told.partitions) == (True, {"clear": 7}, 5, None)
    history = TimeSeries(str(tmp_path))
    history.take([told], NOON)
    history.keep()
    assert overview.charts(history, NOON + timedelta(minutes=5))


@pytest.mark.parametrize(
    "ready",
    [
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"loops":[]}',
        b'{"loops":[' + b"{}," * 300_000 + b"{}]}",
        b'{"loops":[{"worker":1e999}]}',
    ],
    ids=["deep", "large", "odd"],
)
def test_an_answer_that_cannot_be_read_harms_nobody_else(ready):
    """The thread that watches would die of it, and the page would show the last state of all for ever."""
    with hostile(READY % b"1", ready) as bad, pages(lambda: [worker("w1")[0]()]) as good:
        watching = Watcher(
            [f"127.0.0.1:{bad}", f"127.0.0.1:{good}"],
            TimeSeries(""),
            configure("info", "json", io.BytesIO()),
        )
        assert one_round(watching) == {
            f"127.0.0.1:{bad}": ("no answer", "not a stream-scrub process"),
            "w1": ("ready", ""),
        }


def test_what_one_page_says_is_bounded_and_masked():
    """One page could fill the memory, keep all checks waiting, or show people's numbers to whoever looks."""
    long = b"<" * 5000
    cause = b'{"cause": "x", "why": "number 06 12 34 56 71 is bad %s", "do": "call +33612345672 %s"}' % (
        long,
        long,
    )
    said = b'{"loops":[{"worker":"w","causes":[%s]}]}' % cause
    page = READY % b"0" + b"".join(COUNTED % (b"r%d" % n, b"1") for n in range(5000))
    with hostile(page, said) as port:
        (told,) = asked(port)
    assert told.verdicts == {"other": 5000}
    assert "[number]" in told.why and "[number]" in told.do
    assert len(told.why) < 600 and len(told.do) < 600
    names = b"".join(b'stream_scrub_ready{worker="%d"} 1\n' % n for n in range(65))
    with hostile(names) as port, pytest.raises(ScrapeError, match="more than 64 loops"):
        asked(port)
    with hostile(b'stream_scrub_ready{worker="+33612345678"} 1\n') as port:
        watching = Watcher([f"127.0.0.1:{port}"], TimeSeries(""), configure("info", "json", io.BytesIO()))
        assert set(one_round(watching)) == {"[number]"}


def test_names_that_somebody_makes_up_push_nobody_out(monkeypatch):
    """The memory would grow with every round, and each look at the page would take longer."""
    monkeypatch.setattr(watcher, "ROWS_MAX", 10)
    monkeypatch.setattr(time_series, "LOOPS_MAX", 10)
    answers = {"10.0.0.1": [loop("good", clear=1)]}
    watching = rounds(monkeypatch, answers, ["10.0.0.1", "10.0.0.2"])
    for n in range(5):
        answers["10.0.0.2"] = [loop(f"{n}-{k}", clear=1) for k in range(4)]
        found = one_round(watching)
        assert found["good"][0] == "ready" and len(found) <= 10 and len(watching.series._last) <= 10
    assert not watching.has_more
    answers["10.0.0.2"] = [loop(f"x-{k}", clear=1) for k in range(12)]
    assert len(one_round(watching)) == 10 and watching.has_more


def test_nobody_takes_the_place_of_anothers_process(monkeypatch):
    """A page could say under a worker's name that all is well with it, and hide that it holds."""
    bad = msgspec.structs.replace(loop("w1"), ready=False, why="it holds", do="look")
    answers = {"10.0.0.1": [bad], "10.0.0.2": [loop("w1")]}
    watching = rounds(monkeypatch, answers, watch=["a:1", "b:1"])
    monkeypatch.setattr(
        scraping, "addresses", lambda host, port: [Address(host, port, f"10.0.0.{1 if host == 'a' else 2}")]
    )
    watching.look()
    assert [each.state for each in watching.rows] == ["not ready", "ready"]


def test_a_clock_that_was_ahead_for_a_moment_hides_no_day():
    """One wrong second would hide the stream's figures until that time has come."""
    history = TimeSeries("")
    history.take([loop(clear=0)], NOON)
    history.take([loop(clear=1)], NOON + timedelta(days=365))
    for minute in range(1, 6):
        history.take([loop(clear=1 + minute)], NOON + timedelta(minutes=minute))
    now = NOON + timedelta(minutes=6)
    assert [point.allowed is not None for point in history.points(now, 60, 6)] == [True] * 6
    for minute in range(6, 1450):
        history.take([loop(clear=1 + minute)], NOON + timedelta(minutes=minute))
    assert len(history._minutes) == 1440 and max(history._minutes) < NOON.timestamp() + 1450 * 60


def rounds(monkeypatch, answers, found=("10.0.0.1",), watch=("workers:8080",)):
    """A watcher whose rounds the test makes: `answers` is by address."""

    def addresses(host, port):
        if not found:
            raise ScrapeError("its name does not resolve")
        return [Address(host, port, ip) for ip in found]

    def answer(at):
        if isinstance(answers[at.ip], ScrapeError):
            raise answers[at.ip]
        return answers[at.ip]

    monkeypatch.setattr(scraping, "addresses", addresses)
    monkeypatch.setattr(scraping, "scrape", answer)
    return Watcher(watch, TimeSeries(""), configure("info", "json", io.BytesIO()))


def one_round(watching):
    watching.look()
    return {each.name: (each.state, each.loop.why) for each in watching.rows}


def test_who_says_nothing_is_shown_as_such(monkeypatch):
    """A worker that is gone would just not be there, and nobody would miss it."""
    found = ["10.0.0.1", "10.0.0.2"]
    answers = {"10.0.0.1": [loop("w1")], "10.0.0.2": ScrapeError("it does not answer")}
    watching = rounds(monkeypatch, answers, found)
    assert one_round(watching) == {
        "w1": ("ready", ""),
        "workers:8080 (10.0.0.2)": ("no answer", "it does not answer"),
    }
    answers["10.0.0.1"], answers["10.0.0.2"] = ScrapeError("it does not answer"), [loop("w2")]
    assert one_round(watching) == {"w1": ("no answer", "it does not answer"), "w2": ("ready", "")}
    found.remove("10.0.0.1")
    assert one_round(watching)["w1"] == ("no answer", "its name no longer has this address")
    answers["10.0.0.2"] = [loop("w1")]  # its pod came back at another address, in the place of w2
    assert one_round(watching)["w1"] == ("ready", "")


def test_who_was_taken_away_is_forgotten_after_an_hour(monkeypatch):
    """A fleet that was made smaller would show its former workers for ever."""
    found = ["10.0.0.1"]
    watching = rounds(monkeypatch, {"10.0.0.1": [loop("w1")]}, found)
    assert set(one_round(watching)) == {"w1"}
    found.clear()
    assert one_round(watching)["w1"][0] == "no answer"
    assert one_round(watching)["workers:8080"] == ("no answer", "its name does not resolve")
    hour = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(hours=1))
    monkeypatch.setattr(watcher, "datetime", hour)
    assert set(one_round(watching)) == {"workers:8080"}


def test_the_history_survives_a_restart(tmp_path):
    """Whoever comes after a restart would see an empty day."""
    history = TimeSeries(str(tmp_path))
    history.take([loop(clear=100, opposed=10)], NOON)
    assert history.take([loop(clear=160, opposed=70, lag=9)], NOON) is False
    assert history.take([loop(clear=160, opposed=70)], NOON + timedelta(minutes=1)) is True
    history.keep()

    again = TimeSeries(str(tmp_path))
    for known in (history, again):
        first, _ = known.points(NOON + timedelta(minutes=2), 60, 2)
        assert (first.allowed, first.blocked, first.lag) == (1.0, 1.0, 9.0)
        assert known.by_reason(NOON + timedelta(minutes=2), 3600) == {"clear": 60, "opposed": 60}
    again.take([loop(clear=200, opposed=70)], NOON + timedelta(minutes=3))
    assert again.by_reason(NOON + timedelta(minutes=4), 3600)["clear"] == 60, "nobody knows when those came"


def test_counters_that_begin_anew_count(tmp_path):
    """After a worker's restart its prospects would be missing, or counted twice."""
    history = TimeSeries("")
    history.take([loop("w1", clear=100)], NOON)
    history.take([loop("w1", clear=5), loop("w2", clear=50)], NOON)
    history.take([loop("w1", clear=6), loop("w2", clear=60)], NOON)
    assert history.by_reason(NOON, 3600) == {"clear": 16}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"format":2,"minutes":[]}',
        b'{"format":1,"minutes":[{"at":"x"}]}',
        b'{"format":1,"minutes":' + b"[" * 100_000,
        b'{"format":1,"minutes":[{"at":%d,"verdicts":{"clear":-5}}]}' % NOON.timestamp(),
        b'{"format":1,"minutes":[{"at":%d,"lag":1e308}]}' % NOON.timestamp(),
    ],
    ids=range(7),
)
def test_a_history_that_cannot_be_read_is_left_out(tmp_path, content):
    """A server would not start for figures that no verdict rests on."""
    (tmp_path / FILE).write_bytes(content)
    history = TimeSeries(str(tmp_path))
    assert history.by_reason(NOON, 3600) == {}
    history.take([loop(clear=1)], NOON)
    history.keep()
    assert b'"at"' in (tmp_path / FILE).read_bytes()


def test_a_full_disk_is_told_once(monkeypatch, tmp_path):
    """The log would fill with it, or nobody would know why the page's day is empty after a restart."""
    out = io.BytesIO()
    watching = Watcher(["w:1"], TimeSeries(str(tmp_path / "gone")), configure("info", "json", out))
    watching.stop()
    watching.stop()
    (line,) = [json.loads(each) for each in out.getvalue().splitlines()]
    assert (
        line["event"] == "the status page's figures cannot be saved"
        and line["why"] == "No such file or directory"
    )


def test_what_a_recall_has_outstanding_is_summed_by_country_over_its_members():
    """The page would say that nobody may be called any more, or count the days of one country for another."""
    state = RecallState("r-0", load(environ={}), 60.0)
    days = {("FR", date(2026, 12, 1)): 3, ("FR", date(2027, 1, 1)): 4, ("GB", date(2026, 12, 25)): 5}
    state.holds(days, {})
    with pages(lambda: [state.status()]) as port:
        (told,) = asked(port)
        address = f"127.0.0.1:{port}"
        watched = Watcher([address], TimeSeries(""), configure("error", "json", io.BytesIO()))
        watched.look()
    assert told.side == "recall" and sum(told.outstanding.values()) == 12
    rows = overview.outstanding_by_country([*watched.rows, *watched.rows], NOON)
    assert rows == [("FR", 14, 6, "2027-01-01"), ("GB", 10, 0, "2026-12-25")]


def test_days_and_countries_that_a_hostile_page_makes_up_take_no_memory():
    """One process that lies would fill the server's memory with a row for each of its words."""
    name = "stream_scrub_recall_outstanding_numbers"
    lines = (
        f'{name}{{recall="r",country="{at % 900:03}",last_day="2026-12-{at % 28:02}"}} 1'
        for at in range(30_000)
    )
    odd = f'{name}{{recall="r",country="+33612345678",last_day="soon"}} 7'
    with hostile("\n".join([*lines, odd, ""]).encode()) as port:
        (told,) = asked(port)
    assert len(told.outstanding) <= 10_001 and sum(told.outstanding.values()) == 30_007
    assert not any("612345678" in each for each in told.outstanding)
