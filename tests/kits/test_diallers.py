"""The kits' diallers, against ours: they hand out the same leads, and hold the same ones back."""

import json
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_scrub.dialler import Allowed
from tests.support.kits import Program
from tests.support.running.dialler import lead, now, number_of, recall, settings, write
from tests.support.waiting import wait_until

LEADS, RECALLS, NUMBERS = 400, 60, 150
DAY = timedelta(days=1)


@pytest.fixture
def topics(topic) -> tuple[str, str]:
    return topic("allowed", partitions=2), topic("recalled", partitions=2)


@pytest.fixture
def group() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def dialler(kafka, topics, group, driver) -> Iterator[Callable[..., Program]]:
    """Starts diallers of one group."""
    started = []

    def start_dialler(recall: str = "none", start: str = "beginning") -> Program:
        started.append(Program([*driver, "dial", kafka.bootstrap, *topics, group, recall, start]))
        return started[-1]

    yield start_dialler
    for each in started:
        each.kill()


def moment(rng: random.Random) -> str:
    """A moment of the last three days, often the same ones."""
    return (datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - DAY * rng.randrange(4)).isoformat()


def stamp_of(value: bytes) -> bytes:
    return json.dumps(json.loads(value)["scrub"]).encode()


def random_lead(rng: random.Random) -> bytes:
    stamp = {"at": moment(rng), "index": rng.randrange(8)}
    if rng.random() < 0.3:
        numbers = [number_of(each) for each in rng.sample(range(NUMBERS), 2)]
        each = {"verdict": "allowed", "reason": "clear", "rules": "zz@000000"}
        stamp |= {"numbers": [each | {"number": number} for number in numbers]}
        stamp |= {"callable": numbers[:1]} if rng.random() < 0.3 else {}
        stamp |= {"callable": numbers} if rng.random() < 0.5 else {}
    days = rng.choice([None, None, None, -2, 2])
    stamp |= {} if days is None else {"until": (datetime.now(UTC) + DAY * days).date().isoformat()}
    odd = (
        {"channel": "sms"},
        {"verdict": "blocked", "reason": "opposed"},
        {"at": "2020-01-01T00:00:00Z"},
        {"index": "x"},
    )
    stamp |= rng.choice(odd) if rng.random() < 0.1 else {}
    said = json.loads(lead(rng.randrange(NUMBERS)))
    return json.dumps(said | {"scrub": said["scrub"] | stamp}).encode()


def random_recall(rng: random.Random) -> bytes:
    said = json.loads(recall(rng.randrange(NUMBERS), rng.randrange(8)))
    return json.dumps(said | {"at": moment(rng)}).encode()


def test_it_hands_out_what_ours_hands_out(kafka, topics, dialler):
    """A dialler in another language would call a person whose number was recalled, or drop a lead that may be called."""
    rng = random.Random(3)
    allowed, recalled = topics
    write(kafka.bootstrap, recalled, *(random_recall(rng) for _ in range(RECALLS)))
    write(kafka.bootstrap, allowed, *(random_lead(rng) for _ in range(LEADS)), b"{", lead(NUMBERS))
    write(kafka.bootstrap, allowed, lead(0), headers={"scrub": stamp_of(lead(NUMBERS + 1))})
    for at, odd in enumerate((b'"x":1,"x":2', b'"x":%b' % (b"9" * 2_000), b'"%b":1' % (b"x" * 60_000))):
        write(kafka.bootstrap, allowed, b"{%b,%b" % (odd, lead(NUMBERS + 2 + at)[1:]))
    write(kafka.bootstrap, allowed, lead(NUMBERS + 5), headers={"scrub-renews": b"x"})
    write(kafka.bootstrap, allowed, lead(NUMBERS + 6, number="0612345678"))
    for partition in range(2):
        write(kafka.bootstrap, allowed, lead(1000), partition=partition)  # the last one
    with Allowed(
        uuid.uuid4().hex,
        settings=settings(kafka.bootstrap, allowed, recalled),
        recall="none",
        start="beginning",
    ) as leads:
        expected = {}
        while sum(number_of(1000) in each for each in expected.values()) < 2:
            each = next(leads)
            expected[f"{each.partition}/{each.offset}"] = list(each.numbers)
        skipped = dict(leads.skipped)

    program, given = dialler(), {}
    for _ in expected:
        place, *numbers = program.ask("next").split(" ")
        given[place] = numbers

    assert given == expected
    assert json.loads(program.ask("skipped")) == skipped
    assert {*skipped} == {"recalled", "past-until", "too-old", "other-channel", "not-allowed"}


def test_it_begins_where_recalls_may_still_matter_and_not_years_ago(kafka, topics, dialler):
    """With recalls kept as evidence for five years, no lead would be called for minutes after each start."""
    allowed, recalled = topics
    long_ago, lately = (int((datetime.now(UTC) - days * DAY).timestamp() * 1000) for days in (40, 31))
    write(kafka.bootstrap, recalled, b"from years ago", partition=0, timestamp=long_ago)
    write(kafka.bootstrap, recalled, recall(1), partition=0, timestamp=lately)
    write(kafka.bootstrap, allowed, *map(lead, range(3)), partition=0)

    program = dialler()
    assert [program.ask("next").split()[0] for _ in range(2)] == ["0/0", "0/2"]
    assert json.loads(program.ask("skipped")) == {"recalled": 1}


def test_what_is_acknowledged_does_not_come_again_and_all_else_does(kafka, topics, group, dialler):
    """A killed dialler would lose its leads, or call everybody again."""
    write(kafka.bootstrap, topics[0], *(lead(at) for at in range(4)), partition=0)
    first = dialler()
    assert [first.ask("next") for _ in range(4)] == [f"0/{at} {number_of(at)}" for at in range(4)]
    assert [first.ask(f"ack 0/{at}") for at in (1, 0)] == ["ok", "ok"]
    write(kafka.bootstrap, topics[0], lead(4), partition=0)
    assert first.ask("next") == f"0/4 {number_of(4)}"
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})) as member:
        place = [TopicPartition(topics[0], 0)]
        wait_until(lambda: (first.ask("may 0/2"), member.committed(place)[0].offset) == ("true", 2))
    first.kill()

    second = dialler()
    assert [second.ask("next").split()[0] for _ in range(3)] == ["0/2", "0/3", "0/4"]
    for at in (2, 3, 4):
        second.ask(f"ack 0/{at}")
    second.ask("close")
    write(kafka.bootstrap, topics[0], lead(5), partition=0)
    assert dialler().ask("next").split()[0] == "0/5"


def test_leads_that_were_acknowledged_do_not_come_again_when_kafka_forgot_the_offsets(
    kafka, topics, group, dialler
):
    """After a campaign's pause of a week everybody would be called a second time, without a word."""
    write(kafka.bootstrap, topics[0], *(lead(at) for at in range(4)), partition=0)
    first = dialler()
    for at in range(4):
        assert first.ask("next") == f"0/{at} {number_of(at)}"
        first.ask(f"ack 0/{at}")
    first.ask("close")
    first.kill()
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_consumer_groups([group])[group].result()

    held = dialler(start="")
    wait_until(lambda: f"{topics[0]}-0" in held.ask("trouble").replace("/", "-"))
    assert "expired its offsets" in held.ask("trouble")
    write(kafka.bootstrap, topics[0], lead(4), partition=1)  # where there was nothing, nothing can come again
    assert held.ask("next") == f"1/0 {number_of(4)}"
    held.ask("ack 1/0")
    held.ask("close")
    held.kill()

    chosen = dialler(start="end")
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})) as member:
        places = [TopicPartition(topics[0], each) for each in range(2)]
        wait_until(lambda: [each.offset for each in member.committed(places)] == [4, 1])
    write(kafka.bootstrap, topics[0], lead(5), partition=0)
    assert chosen.ask("next") == f"0/4 {number_of(5)}"


def test_a_recall_a_suspension_and_a_renewal_reach_a_lead_that_was_handed_out(kafka, topics, dialler):
    """Somebody who objected between the hand-out and the call would be called."""
    allowed, recalled = topics
    soon = (datetime.now(UTC) + 2 * DAY).date().isoformat()
    write(kafka.bootstrap, allowed, *(lead(at, until=soon) for at in range(3)), partition=0)
    program = dialler()
    for at in range(3):
        assert program.ask("next").split()[0] == f"0/{at}"
    program.ask("ack 0/2")

    write(kafka.bootstrap, recalled, recall(0))
    wait_until(lambda: program.ask("may 0/0") == "false recalled")
    assert program.ask("may 0/0") == "false not-held"
    assert program.ask("may 0/1") == "true"

    for kind, answer in (("suspended", "false suspended"), ("resumed", "false not-held")):
        said = json.loads(recall(0)) | {"kind": kind}
        write(kafka.bootstrap, recalled, json.dumps(said).encode())
        wait_until(lambda answer=answer: program.ask("may 0/1") == answer)
    assert program.ask("next").split()[0] == "0/1", "its register is renewed"
    assert program.ask("may 0/1") == "true"

    # The renewal of a lead that is held is no lead of its own, nor is that of one that is done.
    for at in (1, 2):
        write(kafka.bootstrap, allowed, lead(at, index=9), partition=0, headers={"scrub-renews": str(at)})
    write(kafka.bootstrap, allowed, lead(7), partition=0)
    assert program.ask("next").split()[0] == "0/5"
    assert json.loads(program.ask("skipped")) == {"recalled": 1, "renewed": 1}
    write(kafka.bootstrap, recalled, recall(1, index=9))
    wait_until(lambda: program.ask("may 0/1") == "false recalled")

    write(kafka.bootstrap, recalled, b'{"kind":"recalled","number":"0612345678","index":1}')
    wait_until(lambda: "no recall" in program.ask("may 0/5"))
    assert "no recall" in program.ask("next")


def test_without_a_proof_that_recall_works_nothing_is_handed_out(kafka, topics, dialler):
    """A lead would be dialled for as long as nobody notices that recall is dead."""
    allowed, recalled = topics
    write(kafka.bootstrap, allowed, lead(0), partition=0)
    # It was written before this dialler asked for anything, so it proves nothing.
    write(kafka.bootstrap, recalled, alive(allowed))
    program = dialler("")
    asked: list[str] = []
    asking = threading.Thread(target=lambda: asked.append(program.ask("next")), daemon=True)
    asking.start()
    asking.join(8)
    assert asked == [], "handed out without a recall"

    def is_given() -> bool:
        write(kafka.bootstrap, recalled, alive(allowed))
        asking.join(1)
        return bool(asked)

    wait_until(is_given)
    assert asked == [f"0/0 {number_of(0)}"]
    wait_until(lambda: program.ask("may 0/0").startswith("false unknown 2"))
    write(kafka.bootstrap, recalled, alive(allowed, lag_ms=60_000))
    write(kafka.bootstrap, recalled, alive(f"{allowed}x"))
    assert program.ask("may 0/0").startswith("false unknown 2")

    def may() -> bool:
        write(kafka.bootstrap, recalled, alive(allowed))
        return program.ask("may 0/0") == "true"

    wait_until(may)


def alive(allowed: str, lag_ms: int = 0) -> bytes:
    """The proof of a recall that has both partitions."""
    said = {"kind": "alive", "index": -1, "at": now(), "partitions": [f"{allowed}/0", f"{allowed}/1"]}
    return json.dumps(said | {"lag_ms": lag_ms}).encode()


def test_a_renewal_of_a_lead_that_had_ended_is_a_lead(kafka, topics, dialler):
    """A lead that was read too late would never come, though its verdict was renewed."""
    ended = (datetime.now(UTC) - 2 * DAY).date().isoformat()
    write(kafka.bootstrap, topics[0], lead(0, until=ended), lead(1), partition=0)
    program = dialler()
    assert program.ask("next").split()[0] == "0/1"
    for _ in range(2):
        write(kafka.bootstrap, topics[0], lead(0), partition=0, headers={"scrub-renews": "0"})
    write(kafka.bootstrap, topics[0], lead(2), partition=0)
    assert [program.ask("next").split()[0] for _ in range(2)] == ["0/2", "0/4"]
    assert json.loads(program.ask("skipped")) == {"past-until": 1, "renewed": 1}


def test_a_number_that_a_renewal_lacks_may_not_be_dialled_by_what_was_handed_out_before(
    kafka, topics, dialler
):
    """A queue that still has the lead with both numbers would call the one that was taken out."""
    both = [number_of(0), number_of(1)]
    each = [{"verdict": "allowed", "reason": "clear", "number": number} for number in both]
    said = {"number": None, "numbers": each}
    write(kafka.bootstrap, topics[0], lead(0, **said, callable=both), partition=0)
    program = dialler()
    assert program.ask("next") == f"0/0 {' '.join(both)}" and program.ask("may 0/0") == "true"
    fewer = lead(0, **said, callable=both[:1])
    write(kafka.bootstrap, topics[0], fewer, partition=0, headers={"scrub-renews": "0"})
    assert program.ask("next") == f"0/0 {both[0]}"
    assert program.ask("may 0/0") == "true" and program.ask("may before 0/0") == "false recalled"


def test_a_postponed_lead_comes_again_and_stops_no_other(kafka, topics, group, dialler):
    """A person would be called at night, a lead that arrives at night be lost, or everybody wait for it."""
    tomorrow = (datetime.now(UTC) + DAY).replace(second=0, microsecond=0)
    windows = [
        f"{at:%Y-%m-%dT%H:%MZ}/{at + DAY / 24:%Y-%m-%dT%H:%MZ}" for at in (tomorrow - 2 * DAY, tomorrow)
    ]
    hours = {"zones": ["Europe/Paris"], "windows": windows, "local": ""}
    over = {**hours, "windows": windows[:1]}
    odd = {**hours, "windows": ["x"]}
    leads = (lead(0, call=hours), lead(1, call=over), lead(2, call=odd), lead(3))
    write(kafka.bootstrap, topics[0], *leads, partition=0)
    first = dialler()
    assert [first.ask("next").split()[0] for _ in leads] == ["0/0", "0/1", "0/2", "0/3"]
    assert first.ask("may 0/0") == f"false outside-hours {tomorrow:%Y-%m-%dT%H:%M:%SZ}"
    assert first.ask("may 0/1") == "false outside-hours"
    assert first.ask("may 0/2") == "false not-allowed"
    assert first.ask("may 0/3") == "true"
    assert json.loads(first.ask("skipped")) == {"outside-hours": 1, "not-allowed": 1}

    assert first.ask("postpone 0/0") == "ok"
    assert first.ask("may 0/0") == "false not-held"
    write(kafka.bootstrap, topics[0], lead(4), partition=0)
    assert {first.ask("next").split()[0] for _ in range(2)} == {"0/0", "0/4"}
    assert first.ask("postpone 0/0") == "ok"
    for at in (3, 4):
        first.ask(f"ack 0/{at}")
    first.ask("close")

    assert dialler().ask("next") == f"0/0 {number_of(0)}"
