"""The one place where the product meets the model: while histories run, what it imports of the outside is replaced.

This is done by names in modules, not by arguments of the product. The outside itself is replaced (the client
library's classes, `time`, `threading`), in some thirty modules. The alternative is a factory for each, handed down
through every constructor to where a client is made: an argument that only a simulator would ever set. Some
replacements go further: (a) `BoundedCaller`, whose thread guards against a call of the client that never returns,
calls directly; (b) `plugin`, the extension's count of requests, counts the model's requests; (c) what computes between
two requests takes time, in which other things happen (`computes`); (d) in small histories a commit is waited for less
long (`Stage.patience`).
"""

import datetime as dt
import gc
import importlib
import pkgutil
import threading as real_threading
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

import confluent_kafka
from confluent_kafka import admin

from stream_scrub import clock
from stream_scrub.kafka.client import asking, producer_calls
from stream_scrub.kafka.clients import Brokers
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.ops.clock_watch import ClockWatch
from stream_scrub.publisher.delta_publisher import DeltaPublisher
from stream_scrub.retry.resend import Resend
from stream_scrub.worker.outputs import Outputs
from tests.simulation.admin import AdminClient
from tests.simulation.broker import Broker
from tests.simulation.consumer import Consumer
from tests.simulation.messages import Message
from tests.simulation.producer import Producer
from tests.simulation.wire import Api, Net
from tests.simulation.world import FOREVER, WALL_S, Process, Signal, Thread, World


class Stage:
    """What runs now."""

    world: World
    broker: Broker
    adversary: Any
    exact = True  # True: the extension counts requests. False: calls are timed
    socket_s = 10.0

    def shows(self, world: World, broker: Broker, adversary: Any, *, exact: bool, socket_s: float) -> None:
        """From now on it is this world that runs."""
        self.world, self.broker, self.adversary = world, broker, adversary
        self.exact, self.socket_s = exact, socket_s

    @staticmethod
    def patience(commit_s: float, settled_s: float) -> None:
        """For how long a worker waits for a commit or an abort, `retry` before it takes up what was blocked, and the
        publisher between two looks at what has ended."""
        others = {"_SETTLED_S": settled_s, "_APART_S": _APART_S, "_ALIVE_EVERY_S": _ALIVE_EVERY_S}
        for name in _PATIENCE:
            module, constant = _patience(name)
            setattr(module, constant, others.get(constant, commit_s))


STAGE = Stage()
_COMPUTES_S = 0.004  # long enough for an answer to come meanwhile
_APART_S = 0.5
_ALIVE_EVERY_S = 1.0
_PATIENCE = (
    "worker.loop._COMMIT_S",
    "worker.loop._RECOVER_S",
    "retry.resend.ASK_S",
    "retry.daemon._SETTLED_S",
    "recall.daemon._ASK_S",
    "recall.daemon._ALIVE_EVERY_S",
    "requests.ended_numbers._APART_S",
)


def _patience(name: str) -> tuple[Any, str]:
    path, _, constant = name.rpartition(".")
    return importlib.import_module(f"stream_scrub.{path}"), constant


def _net() -> Net:
    return Net(STAGE.world.here, STAGE.broker, STAGE.adversary, STAGE.socket_s)


def computes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the time that it takes. A process that is stopped meanwhile computes on when it is
    continued."""

    @wraps(function)
    def in_time(*arguments: Any, **more: Any) -> Any:
        world = STAGE.world
        STAGE.adversary.fate(world.here, Api.COMPUTE)
        until = world.now + _COMPUTES_S
        world.wait(until)
        if world.now > until:
            world.wait(world.now + _COMPUTES_S)
        return function(*arguments, **more)

    return in_time


class Clock:
    """Replaces the module `time`."""

    CLOCK_BOOTTIME = CLOCK_MONOTONIC = 0

    @staticmethod
    def monotonic() -> float:
        return STAGE.world.now

    perf_counter = monotonic

    @staticmethod
    def clock_gettime(_: int) -> float:
        return STAGE.world.now

    @staticmethod
    def time() -> float:
        world = STAGE.world
        return WALL_S + world.now + (world.running.process.wall_offset if world.running else 0.0)

    @staticmethod
    def sleep(seconds: float) -> None:
        STAGE.world.wait(STAGE.world.now + max(0.0, seconds))


class Moments(dt.datetime):
    """Replaces `datetime.datetime`."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return dt.datetime.fromtimestamp(Clock.time(), tz)


class Event:
    """Replaces `threading.Event`."""

    def __init__(self) -> None:
        self._set = False
        self._signal = Signal()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._signal.notify()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float = 1e6) -> bool:
        until = STAGE.world.now + timeout
        while not self._set and STAGE.world.now < until:
            STAGE.world.wait(until, self._signal)
        return self._set


class Threading:
    """Replaces the module `threading`."""

    Event = Event

    class Lock:
        """A lock. A thread may take it again only if it is reentrant; else it waits for ever, as it would."""

        reentrant = False

        def __init__(self) -> None:
            self._owner: Thread | None = None
            self._depth = 0
            self._freed = Signal()

        def acquire(self) -> bool:
            running = STAGE.world.running
            while self._owner is not None and not (self.reentrant and self._owner is running):
                STAGE.world.wait(FOREVER, self._freed)
            self._owner = running
            self._depth += 1
            return True

        def release(self) -> None:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._freed.notify()

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *_: object) -> None:
            self.release()

    class RLock(Lock):
        """A lock that its thread may take again."""

        reentrant = True

    class Condition(Lock):
        """A condition with a lock of its own."""

        reentrant = True

        def __init__(self) -> None:
            super().__init__()
            self._changed = Signal()

        def notify_all(self) -> None:
            self._changed.notify()

        def wait_for(self, predicate: Callable[[], Any], timeout: float = 1e6) -> Any:
            until = STAGE.world.now + timeout
            while not (told := predicate()) and STAGE.world.now < until:
                self.release()
                STAGE.world.wait(until, self._changed)
                self.acquire()
            return told

    class Thread:
        """A thread of the process that starts it."""

        def __init__(
            self,
            target: Callable[..., Any],
            name: str = "thread",
            *,
            daemon: bool,
            args: tuple[Any, ...] = (),
        ) -> None:
            self._made = (name, target, *args)
            self._thread: Thread | None = None
            assert daemon

        def start(self) -> None:
            self._thread = STAGE.world.here.spawn(*self._made)

        def is_alive(self) -> bool:
            return self._thread is not None and not self._thread.ended

        def join(self, timeout: float = 1e6) -> None:
            until = STAGE.world.now + timeout
            while self.is_alive() and STAGE.world.now < until:
                STAGE.world.wait(STAGE.world.now + 0.05)


class Caller(producer_calls.BoundedCaller):
    """Calls directly."""

    def _start(self) -> None: ...

    def call(self, doing: str, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        del doing
        return function(*arguments, timeout_s)

    def close(self) -> None: ...


class Watching:
    """Replaces `log.follower.StallMonitor`: here no thread is kept from running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def longest_s(self) -> float:
        return 0.0


class Plugin:
    """Replaces the extension as librdkafka's plugin."""

    def watch(self) -> "Plugin":
        made = Plugin()
        made.producer = None
        made.properties = {"watch": made}
        return made

    producer: Producer | None
    properties: dict[str, Any]

    @property
    def attached(self) -> bool:
        return self.producer is not None

    @property
    def in_doubt(self) -> bool:
        return self.producer is not None and self.producer.in_doubt


class Watched(Producer):
    """A producer whose requests are counted if its properties say so."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        if (plugin := options.get("watch")) is not None:
            plugin.producer = self


def _nothing(*_: Any) -> None: ...


def _leave(consumer: Consumer, first: Callable[[], None] = _nothing) -> None:
    """Replaces the closing of a member in a thread of its own."""
    first()
    consumer.close()


def _topics(*_: Any) -> AbstractContextManager[SimpleNamespace]:
    """Replaces the client that looks after topics: of these nothing is known but their names."""
    return nullcontext(SimpleNamespace(names=lambda _: sorted(STAGE.broker.topics), describe=lambda *_: {}))


# Whatever a module of these rooms imports of the outside is the model's.
_ROOMS = "kafka log ops retry recall publisher imports requests worker dialler"
_OUTSIDE: tuple[tuple[Any, Any], ...] = (
    (confluent_kafka.Consumer, Consumer),
    (admin.AdminClient, AdminClient),
    (asking.AdminClient, AdminClient),
    (real_time, Clock),
    (real_threading, Threading),
)
_MODULES: dict[str, dict[str, Any]] = {
    "kafka.bulk": {"with_watch": lambda make, options: (make(options), None)},
    "kafka.source": {"leave_group": Consumer.close},
    "kafka.dialler.allowed_reader": {"leave_group": _leave},
    "kafka.client.repeated_requests": {
        "Producer": Watched,
        "plugin": lambda: Plugin() if STAGE.exact else None,
    },
    "kafka.log_writer": {"BoundedCaller": Caller},
    "kafka.self_test": {"fault": lambda: ""},
    "kafka.session": {"BoundedCaller": Caller, "Outlet": lambda *_: None},
    "kafka.headers": {"_ASK": Message.headers},
    "log.follower": {
        "StallMonitor": Watching,
        "CooperativeYield": lambda: SimpleNamespace(pause=_nothing),
    },
    "ops.preflight": {"need": _nothing, "need_log": _nothing},
    "publisher.publish_rules": {"keep_rules": _nothing},
}
_DATED = (
    "worker.outputs", "worker.stale_registers", "retry.daemon", "recall.daemon", "publisher.delta_publisher", "requests.daemon",
    "imports.import_list", "imports.drop_importer", "dialler.allowed",
)  # fmt: skip


def _modules() -> Iterator[ModuleType]:
    """The modules of the rooms that run on the model."""
    for room in _ROOMS.split():
        package = importlib.import_module(f"stream_scrub.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


@contextmanager
def simulated() -> Iterator[Stage]:
    """While this context lasts, the product runs on the model. `Stage` says in which world."""
    with ExitStack() as stack:
        _exchange_all(stack)
        yield STAGE


def _exchange_all(stack: ExitStack) -> None:
    """Put the model in place of the outside, until the stack is unwound."""

    def exchange(module: Any, name: str, new: Any) -> None:
        stack.enter_context(patch.object(module, name, new))

    young, *older = gc.get_threshold()
    gc.freeze()  # a history leaves rubbish, but little of it, and never looks at what was there before
    stack.callback(gc.unfreeze)
    gc.set_threshold(100_000, *older)
    stack.callback(gc.set_threshold, young, *older)
    for kind in (Consumer, Producer, AdminClient):
        kind.net_of = staticmethod(_net)
    models = {id(real): model for real, model in _OUTSIDE}
    for module in [clock, *_modules()]:
        outside = [name for name, value in vars(module).items() if id(value) in models]
        for name in outside if module is not asking else ():
            exchange(module, name, models[id(getattr(module, name))])
    for name in _DATED:
        exchange(importlib.import_module(f"stream_scrub.{name}"), "datetime", Moments)
    exchange(
        SnapshotWriter.__init__, "__kwdefaults__", {**SnapshotWriter.__init__.__kwdefaults__, "every_s": 0.5}
    )
    for owner, name in ((Outputs, "judge"), (Resend, "_send"), (DeltaPublisher, "publish")):
        exchange(owner, name, computes(getattr(owner, name)))
    for each in _PATIENCE:
        module, constant = _patience(each)
        exchange(module, constant, getattr(module, constant))
    exchange(ClockWatch.__init__, "__defaults__", (Clock.time,))  # its default is bound to the real clock
    exchange(Brokers, "topics", _topics)
    for path, exchanged in _MODULES.items():
        module = importlib.import_module(f"stream_scrub.{path}")
        for name, new in exchanged.items():
            exchange(module, name, new)


__all__ = ["STAGE", "Clock", "Process", "Stage", "simulated"]
