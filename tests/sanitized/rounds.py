"""What runs with the sanitizers: `python -m tests.sanitized` starts it. Arguments: records, moves, seed."""

import json
import random
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from pyroaring import BitMap64

from stream_scrub.extension import extension
from stream_scrub.index.exact import look_up
from stream_scrub.kafka.bulk import QUEUE_FULL, BulkIntake, Outgoing, Outlet, intake
from stream_scrub.kafka.client.repeated_requests import with_watch
from stream_scrub.kafka.cloud_events import CloudEvents
from stream_scrub.kafka.embedded import FETCH_WAIT_MS, EmbeddedKafka
from stream_scrub.registry.records import avro_plan, protobuf_plan
from stream_scrub.scrub import backend
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.facts import facts_of
from stream_scrub.scrub.schemas import framed
from stream_scrub.stamp import STAMP
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.oracles import avro_records, mutated_prospects, protobuf_records
from tests.support.oracles.avro_records import broken

PARTITIONS = range(3)
PATHS = Members.of(("phone", "contact.mobile", "tags"), "country", {"purpose": "call.purpose"})
POOL, ROUND, QUEUE = 20_000, 3_000, 1_000
IN = "i" * 249  # the longest name that Kafka takes
PLENTY, WRITTEN = 30, 1_000  # partitions for moves, and the records of each
ENDS = [b"", b'"', b',"scrub":{"number":"+', b"x" * 300, b"\0\xff"]
EVENTS, MOMENT = CloudEvents("urn:sanitized"), b"2026-01-31T12:00:00.000Z"
OTHERS = [None, b"", b"{}", b"x" * 3_000, b"\0"]
GROWTH_MB, GROWTH_SHARE = 64, 0.1  # of the second half of a phase
PATIENCE_S = 240
SAY_S = 30


def resident_mb():
    (line,) = [
        each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


class Progress:
    """How far a phase is. The memory of its second half must be flat."""

    def __init__(self, name, total):
        self._name, self._total = name, total
        self._begun = self._said = time.monotonic()
        self._half = None

    def reached(self, count):
        now = resident_mb()
        if self._half is None and count >= self._total / 2:
            self._half = now
        is_over = count >= self._total
        if is_over or time.monotonic() - self._said > SAY_S:
            self._said = time.monotonic()
            print(f"{self._name}: {count:,} in {self._said - self._begun:.0f} s, {now:.0f} MB", flush=True)
        if is_over:
            bound = self._half + max(GROWTH_MB, GROWTH_SHARE * self._half)
            assert now <= bound, f"{self._name}: {self._half:.0f} MB at half, {now:.0f} MB at the end"


def options(brokers, **more):
    own = {"group.id": "sanitized", "enable.auto.commit": False, "fetch.wait.max.ms": FETCH_WAIT_MS}
    return {"bootstrap.servers": brokers.bootstrap, "log_level": 0, **own, **more}


@contextmanager
def taking_from(brokers, **more):
    """A consumer, and what takes its records."""
    consumer, taking = intake(options(brokers, **more), several=True, bulk=True)
    assert isinstance(taking, BulkIntake), "the sanitized extension is not in use"
    try:
        yield consumer, taking
    finally:
        taking.close()
        consumer.close()


def take(taking, most):
    records, error = taking.take(most, 0.05)
    assert error is None, error
    return records


# -- Records.


def odd(chance, pool):
    """One of the pool, mutated again as often as not."""
    value, key, headers = chance.choice(pool)
    if value and chance.random() < 0.5:
        value = mutated_prospects.mutated(value, chance)
    return value, key, headers


def everything(taking, count, chance):
    """So many records, in pieces of any size."""
    until = time.monotonic() + PATIENCE_S
    held = take(taking, 1)
    while len(held) < count:
        assert time.monotonic() < until, f"{len(held)} of {count} came"
        first, rest = held.parted(chance.randrange(len(held) + 1))
        held = first.then(rest).then(take(taking, chance.randrange(1, ROUND)))
    return held


def outgoing(reader, records, values, chance, *, events):
    """These records with templates, values and stamps by chance, and what is to come out, by output and partition."""
    plain, again = reader.read_records(records.records), reader.read(values)
    assert (plain.numbers == again.numbers).all() and (plain.kinds == again.kinds).all()
    half = set(plain.numbers[::2].tolist())
    assert look_up(BitMap64(half), plain.numbers).tolist() == [n in half for n in plain.numbers.tolist()]
    count, into_value = len(records), chance.random() < 0.5
    heads, tails = ([chance.choice(ENDS) for _ in plain.pairs] for _ in range(2))
    ids = plain.kinds.tolist()
    others = {at: (chance.choice(OTHERS), chance.choice(OTHERS)) for at, id_ in enumerate(ids) if id_ < 0}
    routes = np.array(chance.choices([0, 1], k=count), np.int32)
    topics = ["blocked", "allowed"]
    event = EVENTS.of_batch(1, MOMENT) if events else None
    out = Outgoing(
        records, topics, routes, plain.numbers, plain.kinds, heads, tails, into_value, others, event
    )
    values, stamps = list(values), [None] * count
    for at, (id_, number) in enumerate(zip(ids, plain.numbers.tolist(), strict=True)):
        if id_ < 0:
            values[at], stamps[at] = others[at]
            continue
        stamp = heads[id_] + b"%d" % number + tails[id_]
        if into_value:
            values[at] = values[at][:-1] + stamp
        else:
            stamps[at] = stamp
    return out, zip([topics[at] for at in routes.tolist()], values, stamps, strict=True)


def expected(fetched, outs, *, events):
    """What is to come out, by output and partition."""
    found = defaultdict(list)
    for message, partition, headers, (topic, value, stamp) in zip(
        fetched.messages, fetched.partitions, fetched.headers.each, outs, strict=True
    ):
        kept = [each for each in headers or () if each[0].lower() != STAMP]
        if events:
            place, is_stamped = (IN, partition, message.offset()), stamp is None and value is not None
            kept = EVENTS.headers(kept, place, MOMENT, allowed=topic == "allowed", stamped=is_stamped)
        kept += [] if stamp is None else [(STAMP, stamp)]
        record = (message.key(), value, kept or None, message.timestamp()[1])
        found[topic, partition].append(record)
    return found


def emit(outlet, producer, out):
    """By the extension."""
    place, code = outlet.emit(out, 0)
    while code:
        assert code == QUEUE_FULL, code
        producer.poll(0.01)
        place, code = outlet.emit(out, place)
    assert place == len(out.batch) and producer.flush(PATIENCE_S) == 0 and outlet.failed() == (0, "")


def came_out(reader, count):
    out, until = defaultdict(list), time.monotonic() + PATIENCE_S
    while count and time.monotonic() < until:
        for m in reader.consume(count, 0.05):
            assert m.error() is None, m.error()
            out[m.topic(), m.partition()].append((m.key(), m.value(), m.headers(), m.timestamp()[1]))
            count -= 1
    assert not count, f"{count} did not come out"
    return out


def go_round(brokers, total, chance):
    """Odd records through the extension, until there were so many."""
    for topic in (IN, "allowed", "blocked"):
        brokers.create_topic(topic, len(PARTITIONS))
    judging = backend.BEST.reader(MEMBERS, "FR", facts_of)
    pool = [mutated_prospects.record(chance) for _ in range(POOL)]
    common = {"bootstrap.servers": brokers.bootstrap, "log_level": 0}
    leads = Producer(common)
    producer, watch = with_watch(Producer, common | {"queue.buffering.max.messages": QUEUE})
    outlet, progress, done = Outlet(producer, watch, [STAMP]), Progress("records", total), 0
    reader = Consumer(options(brokers))
    reader.assign([TopicPartition(topic, each, 0) for topic in ("allowed", "blocked") for each in PARTITIONS])
    with taking_from(brokers) as (consumer, taking):
        places = [TopicPartition(IN, each, 0) for each in PARTITIONS]
        taking.forward(places)
        consumer.assign(places)
        while done < total:
            sent = defaultdict(list)
            for at in range(chance.randrange(1, 2 * ROUND)):
                value, key, headers = odd(chance, pool)
                moment, partition = 1_700_000_000_000 + done + at, at % len(PARTITIONS)
                leads.produce(IN, value, key, partition, timestamp=moment, headers=headers)
                sent[partition].append((key, value, headers or None, moment))
            assert leads.flush(PATIENCE_S) == 0
            records = everything(taking, sum(map(len, sent.values())), chance)
            fetched, taken = records.polled(), defaultdict(list)
            for at, m in enumerate(fetched.messages):
                record = (m.key(), fetched.values[at], fetched.headers.each[at], m.timestamp()[1])
                taken[fetched.partitions[at]].append(record)
            assert taken == sent
            events = chance.random() < 0.5
            out, outs = outgoing(judging, records, fetched.values, chance, events=events)
            emit(outlet, producer, out)
            assert came_out(reader, len(records)) == expected(fetched, outs, events=events)
            done += len(records)
            progress.reached(done)
    outlet.close()
    reader.close()


# -- Avro and Protobuf.

HEADER = "__value_schema_id"
IDS = [b"\0\0\0\0\1", b"\1" + b"g" * 16, b"\0\0\0\0\2", b"\0\0\0", b"\2\0\0\0\1", b"", None]
INDEXES = [b"\0"] * 5 + [b"\2\0", b"\2\2", b"\1", b"\2\x80\2", b""]


def odd_lead(good, indexes, chance):
    """A broken lead, with its id in front or in headers, and the headers. `indexes`: what may follow the id."""
    value = good if chance.random() < 0.1 else broken(good, chance)
    index = chance.choice(indexes)
    match chance.randrange(4):
        case 0:
            ids = [chance.choice(IDS) for _ in range(chance.randint(1, 2))]
            return value, [(HEADER, None if each is None else each + index) for each in ids]
        case 1:
            return chance.choice([value, b"", None]), None
    return (chance.choice(IDS[:3]) + index + value), chance.choice([None, [("other", b"1")]])


def read_avro(brokers, total, chance):
    """Broken leads in Avro, as `read_leads`."""
    plan = avro_plan(extension(), json.dumps(avro_records.LEAD), (), PATHS)
    read_leads(brokers, "avro", plan, lambda: odd_lead(avro_records.GOOD, [b""], chance), total, chance)


def read_protobuf(brokers, total, chance):
    """Broken leads in Protobuf, as `read_leads`."""
    messages = [protobuf_records.LEAD, protobuf_records.CONTACT]
    plan = protobuf_plan(extension(), messages, PATHS, lambda *_: None)
    read_leads(
        brokers, "protobuf", plan, lambda: odd_lead(protobuf_records.GOOD, INDEXES, chance), total, chance
    )


def read_leads(brokers, kind, plan, odd_one, total, chance):
    """Broken leads through the extension, until there were so many: a batch as one by one."""
    brokers.create_topic(kind, 1)
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "log_level": 0})
    progress, done = Progress(kind, total), 0
    plans, indexed = {each[1:]: plan for each in IDS[:2]}, kind == "protobuf"
    with taking_from(brokers) as (consumer, taking):
        places = [TopicPartition(kind, 0, 0)]
        taking.forward(places)
        consumer.assign(places)
        while done < total:
            count = chance.randrange(1, 2 * ROUND)
            for _ in range(count):
                value, headers = odd_one()
                producer.produce(kind, value, headers=headers)
            assert producer.flush(PATIENCE_S) == 0
            fetched = everything(taking, count, chance)
            read = import_module("stream_scrub_native").read_by_schema(
                fetched.records, indexed, dict(plans), lambda *_: (None, False), lambda: False
            )
            polled = fetched.polled()
            for at, value in enumerate(polled.values):
                found = value is not None and framed(value, polled.headers.each[at], indexed=indexed)
                expected = plan(*found[1:]) if found and found[0] in plans else None
                assert read.value(at) == expected, (value, polled.headers.each[at])
            done += count
            progress.reached(done)


# -- Moves.


class Member:
    """A consumer whose partitions come, go, are sought and paused: after each of these the next record of a partition
    is the one that was asked for."""

    def __init__(self, consumer, taking, chance):
        self._consumer, self._taking, self._chance = consumer, taking, chance
        self._next: dict[int, int] = {}
        self._fresh = list(range(PLENTY))
        self._held = []
        self.seen = 0  # records

    def _anywhere(self, partitions):
        return [TopicPartition("moves", each, self._chance.randrange(WRITTEN)) for each in partitions]

    def _some(self):
        return self._chance.sample(sorted(self._next), self._chance.randint(1, len(self._next)))

    def move(self):
        moves = []
        if self._fresh:
            moves += [self._assign]
        if self._next:
            moves += [self._seek] * 5 + [self._pause, self._resume] * 2 + [self._unassign]
        if not moves:
            return False
        self._chance.choice(moves)()
        if self._chance.random() < 0.7:
            self.look(self._chance.choice([1, 10, 1_000, 20_000]))
        return True

    def _assign(self):
        # Each only once in a client's life: outside of a rebalance nothing says when the client has left one.
        places = self._anywhere(
            [self._fresh.pop() for _ in range(min(len(self._fresh), self._chance.randint(1, 3)))]
        )
        self._taking.forward(places)
        self._consumer.incremental_assign(places)
        self._next |= {each.partition: each.offset for each in places}

    def _unassign(self):
        gone = self._some()
        self._consumer.incremental_unassign([TopicPartition("moves", each) for each in gone])
        for each in gone:
            del self._next[each]

    def _seek(self):
        for place in self._anywhere(self._some()):
            try:
                self._consumer.seek(place)
                self._next[place.partition] = place.offset
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:  # it is not fetched yet
                    raise

    def _pause(self):
        self._consumer.pause([TopicPartition("moves", each) for each in self._some()])

    def _resume(self):
        self._consumer.resume([TopicPartition("moves", each) for each in self._next])

    def look(self, most):
        records, error = self._taking.take(most, self._chance.choice([0, 0, 0.001]))
        assert error is None, error
        for at in range(len(records)):
            each = records.records
            partition, offset = each.partition(at), each.offset(at)
            if partition not in self._next:  # it was given back a moment ago
                continue
            assert self._next[partition] == offset, (partition, offset, self._next)
            assert each.value(at) == each.key(at) == b"%d" % offset
            self._next[partition] += 1
        self.seen += len(records)
        if records and self._chance.random() < 0.1:  # records outlive what they came from
            self._held = [*self._held[-5:], records.parted(self._chance.randrange(len(records)))[1]]
            assert all(each.nbytes > 0 for each in self._held)


def move_about(brokers, total, chance):
    """So many moves, with a new client whenever one has had all partitions."""
    brokers.create_topic("moves", PLENTY)
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "log_level": 0})
    for partition in range(PLENTY):
        for at in range(WRITTEN):
            producer.produce("moves", b"%d" % at, b"%d" % at, partition)
    assert producer.flush(PATIENCE_S) == 0
    progress, done, seen = Progress("moves", total), 0, 0
    while done < total:
        with taking_from(brokers) as (consumer, taking):
            member = Member(consumer, taking, chance)
            while done < total and member.move():
                done += 1
        seen += member.seen
        progress.reached(done)
    print(f"moves: {seen:,} records came between them")
    assert seen > done, "next to nothing came: proves nothing"


def share(brokers, total):
    """So many rebalances of a group: a second member comes and goes."""

    def joins(consumer, taking):
        def on_assign(_, places):
            taking.forward(places)
            counts.append(len(places))

        counts: list[int] = []
        consumer.subscribe(["moves"], on_assign=on_assign)
        return counts

    def until(count, *members):
        limit = time.monotonic() + PATIENCE_S
        while len(members[-1][1]) < count:
            assert time.monotonic() < limit, "no rebalance"
            for taking, _ in members:
                take(taking, 1_000)

    group = {"group.id": "shared", "group.protocol": "consumer", "auto.offset.reset": "earliest"}
    with taking_from(brokers, **group) as (consumer, taking):
        first = taking, joins(consumer, taking)
        until(1, first)
        progress = Progress("rebalances", total)
        for at in range(total):
            with taking_from(brokers, **group) as (other, others):
                until(1, first, (others, joins(other, others)))
            progress.reached(at + 1)


def main():
    records, moves, seed = map(int, sys.argv[1:])
    chance = random.Random(seed)
    with EmbeddedKafka() as brokers:
        go_round(brokers, records, chance)
        read_avro(brokers, records // 4, chance)
        read_protobuf(brokers, records // 4, chance)
        move_about(brokers, moves, chance)
        share(brokers, max(1, moves // 1_000))
    print("no fault of memory, no difference")


if __name__ == "__main__":
    main()
