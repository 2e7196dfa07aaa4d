"""Imports the files of the drop folder: each is claimed, read in a process of its own, published by the daemon's
thread, and moved with a report.

Files are taken one at a time, the oldest first. A file that causes a fault is refused and the daemon goes on. A file
that kills the daemon is refused by its next life.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from stream_scrub.clock import utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, ScrubError, Uncertain
from stream_scrub.imports import import_list, plan_import
from stream_scrub.imports.drop_folder import (
    DONE,
    REFUSED,
    DropFolder,
    DroppedFile,
    PublicationNote,
    speakable,
)
from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.isolated_reader import IsolatedReader, ReaderFault
from stream_scrub.imports.parsing.unpack import digest_of
from stream_scrub.kafka import clients
from stream_scrub.log.encode import PublishedDelta
from stream_scrub.log.scan import find_seal
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, Logger, family
from stream_scrub.ops.logs import mask
from stream_scrub.publisher import ownership
from stream_scrub.publisher.delta_publisher import DeltaPublisher, PendingDelta, RegisterBusy

_EVERY_S = 1.0
_FIND_S = 15.0
_ASK_S = 5.0
_FORGET_EVERY_S = 3600.0
_FORGET_MAX = 500  # files at a time: requests wait for it
_END_S = 1.0  # for a thread whose reading was stopped
_TRIES_MAX = 2  # so a machine that loses its power over a file takes it up again
_KILLS = (
    f"the publisher was killed {_TRIES_MAX} times while it read this file (memory, no progress, or from outside). Give the"
    " publisher more memory or drop smaller files; if it was killed for another reason, drop the file again"
)
_DOUBT = (
    "{where}. The publisher does not publish it twice: numbers that it removes may have been added again since. To see"
    " whether it was published, run `stream-scrub lists history` with one of its numbers (for an older log with --set"
    " topics.log=NAME), which names lists by name and SHA-256, or `stream-scrub lists status`. If it was not, drop it again,"
    " under any name"
)
_ELSEWHERE = "it may have been published to the log {log}, before that log was renewed or created again"
_ANYWHERE = "it may have been published already: its note does not say to which log"


@dataclass
class _Job:
    """A claimed file. The reading thread fills in what it read, or why it could not."""

    folder: DropFolder
    dropped: DroppedFile
    options: plan_import.ImportOptions
    started: float
    reader: IsolatedReader
    tries: int  # lives before this one that began to work on it
    settings: Settings
    reading: ParsedList | None = None
    sha256: str = ""
    failure: str = ""
    fault: Exception | None = None
    thread: threading.Thread | None = None

    def read(self) -> None:
        """Runs in the reading thread. Any fault refuses this file alone; requests go on."""
        try:
            self.sha256 = self.folder.take_in(self.dropped)
            order = self.folder.order(self.dropped)
            if order is not None and order.sha256 == self.sha256:
                columns = import_list.columns(order.columns)
                no_into = import_list.named(order.no_into, self.settings) if order.no_into else ""
                self.options = replace(self.options, columns=columns, no_into=no_into)
            list_options = plan_import.list_options_of(self.options, datetime.now(UTC))
            self.reading = self.reader.read(self.folder.open(self.dropped), self.options.file, list_options)
            plan_import.check_lines(self.options, self.reading)
        except (BadList, ConfigError) as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"it cannot be read: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - reported with its place, and the file is refused
            self.stumbled(error)

    def stumbled(self, error: Exception) -> None:
        """Remember a fault of ours, for which the file is refused."""
        what = str(error) if isinstance(error, ReaderFault) else type(error).__name__
        self.failure = f"a fault of ours ({what}): please report it"
        self.fault = error


@dataclass(eq=False)
class DropImporter:
    """The daemon's own thread calls it; only reading a file happens in another one."""

    folder: DropFolder
    delta_publisher: DeltaPublisher
    settings: Settings
    log: Logger
    _job: _Job | None = field(default=None, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _forget_at: float = field(default=float("-inf"), init=False)
    _logged: set[str] = field(default_factory=set, init=False)
    _log_id: str | None = field(default=None, init=False)  # None until it is asked for
    _doubtful: dict[DroppedFile, PublicationNote] = field(default_factory=dict, init=False)
    # Finished files that could not be moved, each with its folder and report.
    _unmoved: list[tuple[DroppedFile, str, Mapping[str, Any]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._queue: deque[DroppedFile] = deque(self.folder.left())

    def recover(self) -> None:
        """After a publication was cut off: look on the log whether it was done. A file that was about to be published to
        another log is refused by the steps that follow: that log is not looked at, and this one cannot tell. Raises as
        reading the log does.
        """
        self._log_id = None
        claimed = [self._job.dropped] if self._job is not None else list(self._queue)
        for dropped in claimed:
            note = self.folder.begun(dropped)
            if note is None or note.sha256 not in {"", self._digest(dropped)}:
                continue  # there was no publication, or it was of another list of that name
            if (note.log, note.log_id) != self._this_log():
                self._doubtful[dropped] = note
                continue
            source = DeltaSource(dropped.path.name, note.sha256)
            with clients.Brokers(self.settings, self.log).reading() as reader:
                found = find_seal(reader, note.after, dropped.register, source, _FIND_S)
            if found is None:
                continue
            seal, position = found
            report = {"added": seal.adds, "removed": seal.removes, "count": seal.count, "position": position}
            self._finish(dropped, DONE, {**report, "effective_at": seal.effective_at, "sha256": note.sha256})
            self._job = None
            if dropped in self._queue:
                self._queue.remove(dropped)

    def _this_log(self) -> tuple[str, str]:
        """The log's name and its topic's id, which is asked for once in each life of the connections, since a log reader
        notices when it changes. Raises Unavailable, Refused."""
        topic = self.settings.topics.log
        if self._log_id is None:
            with closing(clients.Brokers(self.settings, self.log)) as brokers:
                self._log_id = brokers.witnesses.id_of(topic, Deadline.after(_ASK_S))
        return topic, self._log_id

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open for the daemon's lifetime. A stop that is no fault of the file in work does not count as a try."""
        try:
            yield
        except ScrubError:
            self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        if (job := self._job) is not None:
            job.reader.stop()
            if job.thread is not None:
                job.thread.join(_END_S)
            with suppress(OSError):
                self.folder.note_tries(job.dropped, job.tries)
        self.folder.close()

    def step(self) -> Counter[str]:
        """Take up the next file, or publish the one that has been read; returns the counts of files that were
        finished. Raises as `DeltaPublisher` does."""
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
        unmoved, self._unmoved = self._unmoved, []
        for finished in unmoved:
            self._move(*finished)
        if not self._queue:
            self._log_ignored()
            self._claim_one()
            self._forget_old(now)
        if self._queue:
            dropped, lists = self._queue.popleft(), self.settings.lists
            reader = IsolatedReader(lists.read_max_mb, lists.read_max_s)
            tries = self.folder.tries(dropped)
            self._job = _Job(
                self.folder, dropped, self._options_of(dropped), now, reader, tries, self.settings
            )
            self._begin(self._job)

    def _forget_old(self, now: float) -> None:
        """Delete old files: numbers are kept no longer than they are of use, and the log has what was published."""
        days = self.settings.lists.keep_done_days
        if not days or now < self._forget_at:
            return
        count = self.folder.forget_older(time.time() - days * 86_400, _FORGET_MAX)
        if count < _FORGET_MAX:
            self._forget_at = now + _FORGET_EVERY_S
        if count:
            self.log.info("old files deleted", files=count, days=days)

    def _claim_one(self) -> None:
        """Claim the oldest file that can be moved. One that cannot be moved keeps no other waiting, but for those that might
        replace it."""
        taken = {(dropped.folder, dropped.way) for dropped, _, _ in self._unmoved}
        for each in self.folder.waiting():
            if (each.folder, each.way) in taken:
                continue
            try:
                self._queue.append(self.folder.claim(each))
            except OSError as error:
                self._log_once("file cannot be claimed", register=each.register, why=error.strerror)
            else:
                return

    def _begin(self, job: _Job) -> None:
        """Write the try down, and only then read the file. A file that was tried `_TRIES_MAX` times is refused, and so is
        one that may be on another log."""
        if job.dropped in self._doubtful:
            return
        # The note is on the disk before the file is read: a file that kills its reader leaves nothing else behind.
        if job.tries >= _TRIES_MAX:
            job.failure = _KILLS
            return
        try:
            self.folder.note_tries(job.dropped, job.tries + 1)
        except OSError as error:
            job.failure = f"the note that it is being read could not be written: {error.strerror}"
            return
        job.thread = threading.Thread(target=job.read, name="reader", daemon=True)
        job.thread.start()

    def _options_of(self, dropped: DroppedFile) -> plan_import.ImportOptions:
        lists, names = self.settings.lists, (family(dropped.register), dropped.register)
        named: Mapping[str, str] = {}
        no_into = ""
        if not dropped.all_consented:
            for name in names:  # the register's own settings last: they count
                named = lists.columns.get(name, named)
                no_into = lists.no_into.get(name, no_into)
        options = plan_import.ImportOptions(
            file=dropped.path,
            register=dropped.register,
            change=dropped.change,
            max_bad=self.settings.lists.max_bad,
            allow_ends=dropped.ends,
            register_unknown=dropped.any_change,
            columns=named,
            no_into="" if dropped.change == "removes" else no_into,
            all_consented=dropped.all_consented,
        )
        options = import_list.guarded(options, self.settings, any_change=dropped.any_change)
        return import_list.lawful(options, self.settings)

    def _publish(self, job: _Job) -> Counter[str]:
        if (note := self._doubtful.pop(job.dropped, None)) is not None:
            job.sha256 = note.sha256 or self._digest(job.dropped)
            where = _ELSEWHERE.format(log=note.log) if note.log else _ANYWHERE
            return self._refuse(job, _DOUBT.format(where=where))
        try:
            registers = [] if job.failure else [job.options.no_into, job.dropped.register]
            if not all(self.delta_publisher.ready(each) for each in registers if each):
                return Counter()  # a writer is being opened: the next step asks again
            report = self._put(job)
        except UnstatedConsents as error:
            return self._refuse(job, error.in_drop_folder())
        except (BadList, ConfigError) as error:
            return self._refuse(job, str(error))
        except RegisterBusy as busy:
            self._log_once("file waits for its register", register=job.dropped.register, why=str(busy))
            return Counter()
        except ScrubError:
            raise  # the brokers', or another publisher's doing
        except Exception as error:
            job.stumbled(error)
            if self.folder.begun(job.dropped) is None:
                return self._refuse(job, job.failure)
            # It may be on the log. Everything is opened again, `recover` looks, and refuses what it does not find.
            raise Uncertain("a fault of ours while a file was published") from error
        self._finish(job.dropped, DONE, report)
        self._job = None
        return Counter(files=1)

    def _refuse(self, job: _Job, why: str) -> Counter[str]:
        if job.fault is not None:
            cause = None if isinstance(job.fault, ReaderFault) else job.fault
            self.log.error(
                "file cannot be read", register=job.dropped.register, why=job.failure, exc_info=cause
            )
        self._finish(job.dropped, REFUSED, {"why": why, "sha256": job.sha256})
        self._job = None
        return Counter(files_refused=1)

    def _put(self, job: _Job) -> Mapping[str, Any]:
        """Diff, guard, publish; returns the report. Raises BadList, ConfigError, and as `DeltaPublisher`; a note may
        then be left."""
        if job.failure:
            raise BadList(job.failure)
        assert job.reading is not None, "it was read"
        now = datetime.now(UTC)
        written = min(now, datetime.fromtimestamp(job.dropped.written_ns / 1e9, UTC))
        options = replace(job.options, written=written, allow_older=job.dropped.any_age, sha256=job.sha256)
        parts = import_list.parts_of(options, job.reading, self.settings)
        upto = plan_import.plans_of(parts, self.delta_publisher.replay, now)[-1].known.upto
        source = DeltaSource(job.dropped.path.name, job.sha256)
        try:
            note = PublicationNote(job.sha256, upto, *self._this_log())
            self.folder.begin(job.dropped, note)
        except OSError as error:
            raise BadList(
                f"the note that it is being published could not be written: {error.strerror}"
            ) from error
        effects, outcome = [], "nothing was published"
        for each, reading in parts:
            plan = plan_import.plan_of(each, reading, self.delta_publisher.replay, now, outcome=outcome)
            outcome = import_list.only_published(plan)
            ((seal, position),) = self.delta_publisher.publish(
                [PendingDelta(plan.base, plan.delta, plan.effective_at, source, plan.known)]
            )
            if plan.known.span is None:
                ownership.need_counted(self.settings, self.log, note.after, position)
            published = PublishedDelta(seal, position)
            effects.append(import_list.effect_of(reading, plan, published, job.started, self.settings))
        effect = import_list.together(effects)
        report = {k: v for k, v in asdict(effect).items() if k not in ("would_be_refused", "foreseen")}
        return {**report, "sha256": job.sha256}

    def _finish(self, dropped: DroppedFile, where: str, report: Mapping[str, Any]) -> None:
        head = {"file": dropped.path.name, "register": dropped.register, "as": dropped.way or dropped.change}
        head |= {"outcome": "published" if where == DONE else where, "at": utc_seconds(datetime.now(UTC))}
        self._looked_at = float("-inf")  # there may be more
        if why := self._move(dropped, where, {**head, **report}):
            self.log.error("finished file cannot be moved", register=dropped.register, why=why)
        logged = {"position": "position", "count": "count", "added": "adds", "removed": "removes"}
        brief = {new: report[old] for old, new in logged.items() if old in report}
        if endless := report.get("endless"):
            self.log.warning("expiry dates ignored", register=dropped.register, count=endless)
        level = self.log.info if where == DONE else self.log.warning
        if where == REFUSED:
            brief = {"file": mask(speakable(dropped.path.name)), "why": mask(report["why"])}
        level(f"file {head['outcome']}", register=dropped.register, **brief)

    def _move(self, dropped: DroppedFile, where: str, report: Mapping[str, Any]) -> str:
        """Move a finished file, or do so later. Returns why it cannot be moved now."""
        try:
            self.folder.finish(dropped, where, report)
        except OSError as error:
            self._unmoved.append((dropped, where, report))
            return error.strerror or "it cannot be written"
        return ""

    def _log_ignored(self) -> None:
        """Log how many there are, without their names: others chose those."""
        if ignored := len(self.folder.ignored()):
            self._log_once("sub-folders ignored: not a register's name", count=ignored)
        if links := len(self.folder.links()):
            self._log_once("links ignored", count=links)

    def _log_once(self, event: str, **details: str | int | None) -> None:
        line = f"{event} {details}"
        if line not in self._logged:
            self._logged.add(line)
            self.log.warning(event, **details)

    def _digest(self, dropped: DroppedFile) -> str:
        """The SHA-256 (hex) of a file; empty when it is gone or cannot be read."""
        try:
            with self.folder.open(dropped) as file:
                return digest_of(file)
        except OSError:
            return ""
