"""The drop folder's files on their way: claimed, read in a thread, published by the daemon's own, moved with a report.

One file at a time, in the order in which they were written.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.lists import published
from stream_scrub.lists.formats import BadList, Reading
from stream_scrub.lists.formats.unpack import digest_of
from stream_scrub.lists.publish import Published
from stream_scrub.lists.wire import Source, utc_seconds
from stream_scrub.model import Deadline
from stream_scrub.run import importing, wiring
from stream_scrub.run.desk import Desk, Lent, Made
from stream_scrub.run.folder import Dropped, Folder, Note

_EVERY_S = 1.0
_FIND_S = 15.0
DONE, REFUSED = "done", "refused"


@dataclass
class _Job:
    """A claimed file. The thread fills in what it read, or why it could not."""

    folder: Folder
    dropped: Dropped
    order: importing.Order
    started: float
    reading: Reading | None = None
    sha256: str = ""
    failure: str = ""
    fault: Exception | None = None
    thread: threading.Thread | None = None

    def read(self) -> None:
        """In the thread. Whatever a file makes us stumble over, that file is refused, and requests go on."""
        try:
            self.sha256 = self.folder.take_in(self.dropped)
            order = replace(self.order, opened=self.folder.open(self.dropped))
            self.reading = importing.read(order, datetime.now(UTC), lambda _what, _done, _of: None)
            importing.check_lines(self.order, self.reading)
        except (BadList, ConfigError) as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"it cannot be read: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - told with its place, and the file is refused
            self.failure = f"a fault of ours ({type(error).__name__}): please report it"
            self.fault = error


class Inbox:
    """The daemon's own thread calls it; only reading a file happens in another one."""

    def __init__(self, folder: Folder, desk: Desk, settings: Settings, log: FilteringBoundLogger) -> None:
        self._folder = folder
        self._desk = desk
        self._settings = settings
        self._log = log
        self._kinds = importing.kinds_of(settings)
        self._queue: deque[Dropped] = deque(folder.left())
        self._job: _Job | None = None
        self._looked_at = float("-inf")
        self._told: set[str] = set()

    def recover(self) -> None:
        """After whatever cut off a publication: see on the log whether it was done. Raises what reading the log does."""
        claimed = [self._job.dropped] if self._job is not None else list(self._queue)
        for dropped in claimed:
            note = self._folder.begun(dropped)
            if note is None or note.sha256 != self._digest(
                dropped
            ):  # else it is of another list of that name
                continue
            source = Source(dropped.path.name, note.sha256)
            with wiring.reading(self._settings, self._log) as reader:
                found = published.find(reader, note.after, dropped.register, source, Deadline.after(_FIND_S))
            if found is None:
                continue
            seal, position = found
            told = {"added": seal.adds, "removed": seal.removes, "count": seal.count, "position": position}
            self._finish(dropped, DONE, {**told, "effective_at": seal.effective_at, "sha256": note.sha256})
            self._job = None
            if dropped in self._queue:
                self._queue.remove(dropped)

    def step(self) -> Counter[str]:
        """Take up the next file, or publish the one that has been read; what came of it. Raises as `Desk` does."""
        job = self._job
        if job is None:
            self._take_up()
        elif job.thread is None or not job.thread.is_alive():
            return self._publish(job)
        return Counter()

    def _take_up(self) -> None:
        now = time.monotonic()
        if not self._queue and now - self._looked_at < _EVERY_S:
            return
        self._looked_at = now
        if not self._queue:
            self._tell_ignored()
            try:
                self._queue.extend(self._folder.claim(each) for each in self._folder.waiting()[:1])
            except OSError as error:
                self._tell(f"a file could not be taken: {error.strerror}")
                return
        if self._queue:
            dropped = self._queue.popleft()
            self._job = _Job(self._folder, dropped, self._order(dropped), now)
            self._job.thread = threading.Thread(target=self._job.read, name="reader", daemon=True)
            self._job.thread.start()

    def _order(self, dropped: Dropped) -> importing.Order:
        order = importing.Order(
            file=dropped.path,
            register=dropped.register,
            change=dropped.change,
            kind=None,
            effective_at=None,
            region=self._settings.prospect.default_region,
            column="",
            max_bad=self._settings.lists.max_bad,
            dry_run=False,
        )
        return importing.guarded(order, self._settings, any_change=dropped.any_change)

    def _publish(self, job: _Job) -> Counter[str]:
        if job.fault is not None:
            self._log.error("a file could not be read", register=job.dropped.register, exc_info=job.fault)
        try:
            report = self._put(job)
        except (BadList, ConfigError) as error:
            self._finish(job.dropped, REFUSED, {"why": str(error), "sha256": job.sha256})
            self._job = None
            return Counter(files_refused=1)
        except Lent as lent:
            self._tell(f"{job.dropped.register}: a file waits: {lent}")
            return Counter()
        self._finish(job.dropped, DONE, report)
        self._job = None
        return Counter(files=1)

    def _put(self, job: _Job) -> Mapping[str, Any]:
        """Diff, guard, publish. Raises BadList, ConfigError, and as `Desk`; then a note may be left."""
        if job.failure:
            raise BadList(job.failure)
        assert job.reading is not None, "it was read"
        name, now = job.dropped.register, datetime.now(UTC)
        self._desk.ready(name)
        written = min(now, datetime.fromtimestamp(job.dropped.written_ns / 1e9, UTC))
        order = replace(job.order, written=written, allow_older=job.dropped.any_age)
        plan = importing.plan_of(order, job.reading, self._desk.replay, now, self._kinds)
        source = Source(job.dropped.path.name, job.sha256)
        self._folder.begin(job.dropped, Note(job.sha256, plan.known.upto))
        ((seal, position),) = self._desk.publish(
            [Made(plan.base, plan.delta, plan.effective_at, source, plan.known)]
        )
        effect = importing.effect_of(job.reading, plan, Published(seal, position), job.started)
        told = {k: v for k, v in effect.as_json().items() if k not in ("would_be_refused", "foreseen")}
        return {**told, "sha256": job.sha256}

    def _finish(self, dropped: Dropped, where: str, report: Mapping[str, Any]) -> None:
        told = {"file": dropped.path.name, "register": dropped.register, "as": dropped.way or dropped.change}
        told |= {"outcome": "published" if where == DONE else where, "at": utc_seconds(datetime.now(UTC))}
        self._looked_at = float("-inf")  # there may be more
        try:
            self._folder.finish(dropped, where, {**told, **report})
        except OSError as error:
            self._log.error(
                "a file was worked on and could not be moved", register=dropped.register, why=error.strerror
            )
        brief = {key: report[key] for key in ("position", "count") if key in report}
        brief |= {
            new: report[old] for old, new in (("added", "adds"), ("removed", "removes")) if old in report
        }
        level = self._log.info if where == DONE else self._log.warning
        level(
            f"file {told['outcome']}", register=dropped.register, **brief
        )  # its name and why: in the report

    def _tell_ignored(self) -> None:
        """How many, and not what they are called: others chose that."""
        if ignored := len(self._folder.ignored()):
            self._tell(f"sub-folders without a register's name, in which nothing is read: {ignored}")
        if links := len(self._folder.links()):
            self._tell(f"links with a register's name, behind which nothing is read: {links}")

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._log.warning("the folder", trouble=text)

    def _digest(self, dropped: Dropped) -> str:
        """Of a file that may be gone or closed to us: then none."""
        try:
            with self._folder.open(dropped) as file:
                return digest_of(file)
        except OSError:
            return ""
