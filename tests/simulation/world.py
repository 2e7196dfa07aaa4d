"""One history's world: virtual time, the processes in it, and what happens next. One thread, one seeded generator.

The threads of all processes are greenlets. One of them runs until it waits (for an answer, a signal, a moment). Then
the earliest event of all runs. So a history is a sequence of events, the same for the same seed.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

WALL_S = 1_795_000_000.0  # what the wall clock shows when a history begins: a day in November 2026
BEGIN_S = 1000.0  # what the clocks that only count show then
FOREVER = float("inf")
_MASK = (1 << 61) - 1


class Killed(BaseException):
    """Raised in a thread of a killed process, wherever it waits. Nothing catches it."""


class Stuck(Exception):
    """A history does not end: it has more events than any sound history."""


class Signal:
    """What threads wait for; `notify` wakes them all."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[tuple[Thread, int]] = []

    def notify(self) -> None:
        waiting, self.waiting = self.waiting, []
        for thread, turn in waiting:
            if turn == thread.turn:  # else it was woken by something else meanwhile
                thread.process.later(0.0, thread.wake, turn)


class Thread:
    """One thread of a process."""

    def __init__(
        self, process: "Process", name: str, target: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.process = process
        self.name = name
        self.turn = 0
        self.ended = False
        self.error: BaseException | None = None
        self._target, self._args = target, args
        self._greenlet = greenlet(self._main, process.world.hub)

    def _main(self) -> None:
        try:
            self._target(*self._args)
        except Killed:
            pass
        except Exception as error:
            self.error = error
            self.process.world.failed(self, error)
        finally:
            self.ended = True
            self.process.threads.pop(self, None)

    def wake(self, turn: int) -> None:
        """Let the thread go on, if it still waits for that turn."""
        if turn != self.turn or self.ended:
            return
        self.turn += 1
        world = self.process.world
        world.running = self
        self._greenlet.switch()
        world.running = None

    def kill(self) -> None:
        """From the hub only: where a killed thread ends, the hub goes on."""
        if self._greenlet:  # it has begun and has not ended
            world = self.process.world
            world.running = self
            self._greenlet.throw(Killed)
            world.running = None
        self.ended = True


class Process:
    """One process of a machine. `wall_offset` is how far its wall clock is from the world's."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        first = name.split(maxsplit=1)[0]
        self.kind = "worker" if first == "visitor" else first
        self.alive = True
        self.paused_until = 0.0
        self.wall_offset = 0.0
        self.threads: dict[Thread, None] = {}

    def later(self, seconds: float, function: Callable[..., None], *arguments: Any) -> None:
        """Plan an event of this process at a moment. If the process is stopped then, the event waits until it is
        continued. If it is dead, the event never happens."""
        world = self.world
        heapq.heappush(world.heap, (world.now + seconds, next(world.count), self, function, arguments))

    def spawn(self, name: str, target: Callable[..., Any], *args: Any) -> Thread:
        thread = Thread(self, name, target, args)
        self.threads[thread] = None
        self.later(0.0, thread.wake, 0)
        return thread

    def pause(self, seconds: float) -> None:
        """Stop it for so many seconds, as SIGSTOP and SIGCONT do."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)

    def kill(self) -> None:
        """Kill it, as kill -9 does: nothing of it runs any more. What it has sent is still on its way."""
        self.alive = False
        self.world.at(self.world.now, self.reap)

    def reap(self) -> None:
        """End its threads."""
        for thread in list(self.threads):
            thread.kill()
        self.threads.clear()


class World:
    """Time, chance and events. `schedule` is a number that two histories share only if everything in them was the
    same."""

    def __init__(self, seed: int, *, happenings_max: int = 400_000) -> None:
        self.seed = seed
        self.rng = random.Random(seed)  # for the network's times only, so that faults shift no choices
        self.now = BEGIN_S
        self.hub = getcurrent()
        self._to_hub = self.hub.switch
        self.running: Thread | None = None
        self.schedule = seed
        self.happened = 0
        self.story: list[tuple[float, str]] = []
        self.faults: list[BaseException] = []
        self.processes: list[Process] = []
        self._happenings_max = happenings_max
        # When, in which order, whose (None: the world's own), and what.
        self.heap: list[tuple[float, int, Process | None, Callable[..., None], tuple[Any, ...]]] = []
        self.count = itertools.count()
        self.names = itertools.count(1)  # of members; their order counts, so each history begins at 1

    def at(self, when: float, function: Callable[..., None], *arguments: Any) -> None:
        """Plan an event at a moment."""
        heapq.heappush(self.heap, (when, next(self.count), None, function, arguments))

    def note(self, number: int) -> None:
        """Note something that makes this history what it is."""
        self.schedule = (self.schedule * 1_000_003 ^ number) & _MASK

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append((self.now, text))

    def failed(self, thread: Thread, error: BaseException) -> None:
        """Note that a thread ended with an error that nobody caught."""
        self.faults.append(error)
        self.tell(f"{thread.process.name}'s {thread.name} ended: {type(error).__name__}: {error}")

    def run(self, until: float, done: Callable[[], bool] = lambda: False, every: int = 64) -> None:
        """Run all events up to a moment, or until `done`, which is checked now and then."""
        heap, pop = self.heap, heapq.heappop
        while heap and heap[0][0] <= until:
            when, _, process, function, arguments = pop(heap)
            if when > self.now:
                self.now = when
            if process is not None and self.now < process.paused_until and process.alive:
                heapq.heappush(heap, (process.paused_until, next(self.count), process, function, arguments))
                continue
            self.happened += 1
            if process is None or process.alive:
                self.schedule = (self.schedule * 1_000_003 ^ hash(when)) & _MASK
                function(*arguments)
            if self.happened % every == 0:
                if done():
                    return
                if self.happened > self._happenings_max:
                    raise Stuck(f"{self.happened} happenings, and no end after {self.now - 1000:.0f} s")
        if not heap:
            return
        self.now = max(self.now, min(until, heap[0][0]))

    def wait(self, until: float, signal: Signal | None = None) -> None:
        """Let the running thread wait (a) for a signal, at the longest until a moment, or (b) without a signal, for
        that moment."""
        thread = self.running
        assert thread is not None, "only threads wait"
        process, turn = thread.process, thread.turn
        if not process.alive:
            raise Killed
        if signal is not None:
            signal.waiting.append((thread, turn))
        if until < FOREVER:
            heapq.heappush(self.heap, (max(until, self.now), next(self.count), process, thread.wake, (turn,)))
        self._to_hub()
        if not process.alive:
            raise Killed

    @property
    def here(self) -> Process:
        """The process whose thread runs now."""
        assert self.running is not None, "some thread runs"
        return self.running.process

    def process(self, name: str) -> Process:
        """Make a new process."""
        made = Process(self, name)
        self.processes.append(made)
        return made

    def end(self) -> None:
        """End every thread, so that nothing more happens."""
        for process in self.processes:
            process.alive = False
            process.reap()
        self.heap.clear()
