"""Runs one contender from its start to its end, and measures it from outside: the same way for every one.

The group's assignment and committed offsets, which the broker tells, say when work begins and ends; /proc and wait4
say what it cost. Nothing is asked of the contender but to be a member of the group and to end well on SIGTERM.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from bench.harness.failure import Failed
from bench.harness.proc import cpu_of, machine_cpu, peak_mb_of
from tests.kafka.node import die_with_parent

_ASSIGNED_S = 90.0  # the start of a worker with a 5 M register is a few seconds
_SLOWEST_PER_S = 2_000  # a contender slower than this is given up
_STALLED_S = 60.0
_STOP_S = 30.0
_CRASH_S = 240.0  # to be back and through: its successor waits for its session's end, 45 s, and its transaction's, 60 s
_FORGOTTEN_S = 75.0
_EVERY_S = 0.02


@dataclass(frozen=True)
class Figures:
    """What one run cost. Every CPU figure is user+sys of the whole process with all its threads, in seconds."""

    records: int  # committed while it was measured
    records_after_first_commit: int
    records_late: int  # after the first commit seen that reached half of them: a JIT compiler is warm by then
    wall_s: float  # from the first commit seen to the last
    startup_cpu_s: float  # from the start of the process until it has its partitions
    work_cpu_s: float  # from then until the last commit
    late_cpu_s: float  # of `records_late`
    life_cpu_s: float  # from its start to its end, as wait4 says
    startup_s: float
    work_s: float
    stop_s: float
    peak_mb: float
    broker_cpu_s: float  # while the contender worked, as are the next two
    others_cpu_s: float  # the machine's, without the contender, the broker and the bench itself
    stolen_s: float  # what the hypervisor gave to others

    @property
    def records_per_s(self) -> float:
        return self.records_after_first_commit / self.wall_s if self.wall_s else 0.0

    @property
    def work_us(self) -> float:
        return self.work_cpu_s / self.records * 1e6

    @property
    def late_us(self) -> float:
        """0 when the first commit past the half was near the end: there were too few records to say."""
        return self.late_cpu_s / self.records_late * 1e6 if self.records_late * 4 >= self.records else 0.0

    @property
    def life_us(self) -> float:
        return self.life_cpu_s / self.records * 1e6

    def as_json(self) -> dict[str, Any]:
        rounded = {name: round(figure, 4) for name, figure in asdict(self).items()}
        return {
            **rounded,
            "records_per_s": round(self.records_per_s),
            "work_us_a_record": round(self.work_us, 3),
            "late_us_a_record": round(self.late_us, 3),
            "life_us_a_record": round(self.life_us, 3),
        }


@dataclass(frozen=True)
class _Usage:
    """CPU seconds up to a moment."""

    process: float
    broker: float
    busy: float
    stolen: float
    bench: float

    @classmethod
    def now(cls, pid: int, broker: int | None) -> "_Usage":
        busy, stolen = machine_cpu()
        own = os.times()
        return cls(
            cpu_of(pid),
            cpu_of(broker) if broker else 0.0,
            busy,
            stolen,
            own.user + own.system,
        )


@dataclass(frozen=True)
class Crash:
    """One that was killed, and its successor."""

    committed: int  # before
    back_s: float  # from the kill to the last commit


class Runner:
    """Runs contenders against one broker and one input topic. `broker` is its process id, if it is ours."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, broker: int | None) -> None:
        self._bootstrap = bootstrap
        self._partitions = [TopicPartition(topic, each) for each in range(partitions)]
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._broker = broker

    def run(
        self, command: list[str], env: dict[str, str], group: str, records: int, log: Path, members: int = 1
    ) -> Figures:
        """Start, wait until all `records` are committed, stop. Raises Failed; the process is gone in any case.

        With several `members` the figures begin when each of them has partitions: the first one has worked by then.
        One without members takes its partitions without the group, and says "ready" when it begins to read them.
        """
        with self._offsets(group) as offsets, _started(command, env, log) as (process, started):
            if members:
                self._wait_assigned(process, group, _ASSIGNED_S, members)
            else:
                _wait_ready(process, log)
            return self._measure(process, records, offsets, started)

    @contextmanager
    def _offsets(self, group: str) -> Iterator[Consumer]:
        """What the group has committed can be asked of this."""
        offsets = Consumer(
            # read_uncommitted: the last stable offset at once, instead of waiting for a commit under way
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "isolation.level": "read_uncommitted",
                "log_level": 0,
            }
        )
        try:
            yield offsets
        finally:
            offsets.close()

    def prepare(
        self, command: list[str], env: dict[str, str], group: str, log: Path, timeout_s: float
    ) -> float:
        """Start, wait until it has its partitions, stop: what it keeps on disk is there then. The seconds it took."""
        with _started(command, env, log) as (process, started):
            self._wait_assigned(process, group, timeout_s, 1)
            ready_s = time.monotonic() - started
            _stop(process)
            return ready_s

    def crash(self, command: list[str], env: dict[str, str], group: str, records: int, log: Path) -> Crash:
        """Start, SIGKILL at a quarter, start again, wait until all is committed and no transaction is open, stop."""
        with self._offsets(group) as offsets:
            with _started(command, env, log) as (process, _):
                self._until(process, offsets, records // 4)
                time.sleep(random.uniform(0.0, 0.5))
                committed = self._committed(offsets)
                process.kill()
                killed = time.monotonic()
            if committed >= records:
                raise Failed("it was through before it could be killed: more prospects are needed")
            with _started(command, env, log) as (process, _):
                self._until(process, offsets, records)
                back_s = time.monotonic() - killed
                time.sleep(max(0.0, _FORGOTTEN_S - back_s))
                _stop(process)
        return Crash(committed, back_s)

    def _until(self, process: subprocess.Popen[bytes], offsets: Consumer, records: int) -> None:
        until = time.monotonic() + _CRASH_S
        while (done := self._committed(offsets)) < records:
            alive(process)
            if time.monotonic() > until:
                raise Failed(f"{done} of {records} records committed after {_CRASH_S:.0f} s")
            time.sleep(_EVERY_S)

    def _measure(
        self, process: subprocess.Popen[bytes], records: int, offsets: Consumer, started: float
    ) -> Figures:
        pid = process.pid
        assigned, before, earlier = (
            time.monotonic(),
            _Usage.now(pid, self._broker),
            self._committed(offsets),
        )
        first, first_records = 0.0, 0
        half_cpu_s, half_records = 0.0, 0
        changed, last_records = assigned, 0
        while True:
            done, now = self._committed(offsets), time.monotonic()
            if done > earlier and not first:
                first, first_records = now, done
            if done * 2 >= records + earlier and not half_records:
                half_cpu_s, half_records = cpu_of(pid), done
            if done != last_records:
                changed, last_records = now, done
            if done >= records:
                break
            alive(process)
            if now - changed > _STALLED_S or now - assigned > _STALLED_S + records / _SLOWEST_PER_S:
                raise Failed(
                    f"{done} of {records} records after {now - assigned:.0f} s, and too slow or stalled"
                )
            time.sleep(_EVERY_S)
        after = _Usage.now(pid, self._broker)
        peak_mb = peak_mb_of(pid)
        if done > records:
            raise Failed(f"{done} records committed of {records}")
        life_cpu_s, stop_s = _stop(process)
        work = after.process - before.process
        broker = after.broker - before.broker
        return Figures(
            records=records - earlier,
            records_after_first_commit=records - first_records,
            records_late=records - half_records,
            wall_s=now - first,
            startup_cpu_s=before.process,
            work_cpu_s=work,
            late_cpu_s=after.process - half_cpu_s,
            life_cpu_s=life_cpu_s,
            startup_s=assigned - started,
            work_s=now - assigned,
            stop_s=stop_s,
            peak_mb=peak_mb,
            broker_cpu_s=broker,
            others_cpu_s=max(0.0, after.busy - before.busy - work - broker - (after.bench - before.bench)),
            stolen_s=after.stolen - before.stolen,
        )

    def _wait_assigned(
        self, process: subprocess.Popen[bytes], group: str, timeout_s: float, members: int
    ) -> None:
        """Until the group's members have every partition, and each has some: just before the last one's first fetch."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            alive(process)
            shares = shares_of(self._admin, group)
            if sum(shares) == len(self._partitions) and len(shares) == members:
                return
            time.sleep(_EVERY_S / 2)
        raise Failed(f"it had no partitions after {timeout_s:.0f} s")

    def _committed(self, offsets: Consumer) -> int:
        try:
            return sum(max(0, each.offset) for each in offsets.committed(self._partitions, timeout=10))
        except KafkaException as error:
            raise Failed(f"asking for the committed offsets: {error}") from error


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _ASSIGNED_S
    while b"ready\n" not in log.read_bytes():
        alive(process)
        if time.monotonic() > until:
            raise Failed(f"it was not ready after {_ASSIGNED_S:.0f} s")
        time.sleep(_EVERY_S / 2)


def shares_of(admin: AdminClient, group: str) -> list[int]:
    """How many partitions each member of the group has that has any."""
    (future,) = admin.describe_consumer_groups([group], request_timeout=10).values()
    try:
        members = future.result(15).members
    except KafkaException:
        return []  # no such group yet
    shares = [len(member.assignment.topic_partitions) for member in members if member.assignment]
    return [share for share in shares if share]


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the bench, which says what it says to `log`. It is gone at the end, in any case."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=log.parent,  # no stream-scrub.toml of somebody's checkout
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one C call, no lock taken
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def alive(process: subprocess.Popen[bytes]) -> None:
    """Raises Failed when it has ended by itself."""
    if process.poll() is not None:
        raise Failed(f"it ended by itself with code {process.returncode}")


@contextmanager
def _started(
    command: list[str], env: dict[str, str], log: Path
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The contender's process, and when it was started. A Failed gets its last words."""
    started = time.monotonic()
    with running(command, env, log) as process:
        try:
            yield process, started
        except Failed as failed:
            words = log.read_text(errors="replace")[-3000:]
            raise Failed(f"{failed}; its last words:\n{words}") from None


def _stop(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """SIGTERM; the CPU of the process's whole life, and how long it took to end. Raises Failed unless it ends well."""
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while time.monotonic() - asked < _STOP_S:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise Failed(f"it ended with code {process.returncode}")
            return usage.ru_utime + usage.ru_stime, time.monotonic() - asked
        time.sleep(0.005)
    raise Failed(f"it did not end {_STOP_S:.0f} s after SIGTERM")
