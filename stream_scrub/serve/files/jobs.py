"""Work that is too long for a request, in a folder of its own: uploaded files of leads, and dossiers. Their results, and
what has become of each."""

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path

import msgspec

from stream_scrub.languages import ENGLISH, read_in, say, translatable
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.files.preview import Preview
from stream_scrub.serve.files.process import State
from stream_scrub.serve.uploads import Job, UploadLimits, Uploads, busy, write

_decode_preview = msgspec.json.Decoder(Preview).decode
_decode_state = msgspec.json.Decoder(State).decode

FILE_BYTES_MAX = 134_217_728  # as uploaded, packed or not
TOKEN_BYTES_MAX = 536_870_912  # a token's files and their results
ALL_BYTES_MAX = 2_147_483_648  # the same of all tokens: the volume of a pod has room for so many
TOKEN_JOBS_MAX = 4
JOBS_MAX = 32
SCRUBBING_MAX = 2  # at once
DOSSIER_BYTES_MAX = 67_108_864
READING_MAX = 1  # at once: each reads all topics
_RESULTS, _LISTS, _STATE, _PREVIEW = "results", "lists", "state.json", "preview.json"
_WAIT_S = 0.5
_FILE_GONE = translatable(
    "this file is not here: files are deleted after %(minutes)s minutes, when they are cancelled, and when the server"
    " restarts. Upload it again"
)
_DOSSIER_GONE = translatable(
    "this dossier is not here: dossiers are deleted after %(minutes)s minutes, when they are cancelled, and when the server"
    " restarts. Ask again"
)


class Jobs(Uploads):
    """Each job also has a folder of results and a state."""

    @classmethod
    def of_files(cls, state_dir: str, keep_s: float) -> "Jobs":
        """Files of leads."""
        nbytes = (FILE_BYTES_MAX, TOKEN_BYTES_MAX, ALL_BYTES_MAX)
        limits = UploadLimits(*nbytes, TOKEN_JOBS_MAX, JOBS_MAX, SCRUBBING_MAX)
        return cls("leads", state_dir, keep_s, limits, _FILE_GONE)

    @classmethod
    def of_dossiers(cls, state_dir: str, keep_s: float) -> "Jobs":
        """Dossiers."""
        nbytes = (DOSSIER_BYTES_MAX, TOKEN_BYTES_MAX, ALL_BYTES_MAX)
        limits = UploadLimits(*nbytes, TOKEN_JOBS_MAX, JOBS_MAX, READING_MAX)
        return cls("dossiers", state_dir, keep_s, limits, _DOSSIER_GONE)

    def __init__(self, name: str, state_dir: str, keep_s: float, limits: UploadLimits, is_gone: str) -> None:
        super().__init__(name, state_dir, keep_s, limits, is_gone)
        self._workers: list[threading.Thread] = []

    def stop(self) -> None:
        """Delete the files that this process received."""
        self._stopping.set()
        for thread in self._workers:
            thread.join()
        super().stop()

    def do(self, job: Job, work: Callable[[Job], State | None], done: Callable[[State], None]) -> None:
        """Do the work of a job in a thread when there is a place for it, and store what became of it. `work` returns None
        if it must be tried again later."""
        self.put(job, State("waiting"))
        self._workers = [each for each in self._workers if each.is_alive()]
        self._workers.append(threading.Thread(target=self._work, args=(job, work, done), daemon=True))
        self._workers[-1].start()

    def _work(self, job: Job, work: Callable[[Job], State | None], done: Callable[[State], None]) -> None:
        with read_in(job.choices.get("language", ENGLISH), UTC, on_page=True):
            self._work_for_reader(job, work, done)

    def _work_for_reader(
        self, job: Job, work: Callable[[Job], State | None], done: Callable[[State], None]
    ) -> None:
        outcome: State | None = None
        try:
            while outcome is None and not self.why_end(job):
                with self.slot() as is_free:
                    outcome = work(job) if is_free and self._is_next(job) else None
                if outcome is None:
                    time.sleep(_WAIT_S)
        finally:
            outcome = outcome or State(
                "failed", why=self.why_end(job) or say("a fault; see the server's log")
            )
            self.tidy(job, outcome)
            # Its state is not read here: another form of the file may have been sent by now.
            if not self.put(job, outcome):
                self.delete(job.id)
        done(outcome)

    def _is_next(self, job: Job) -> bool:
        """Whether none waits for longer: whoever asks again and again would else take every place that becomes free."""
        waiting = [each.id for each in self._all() if self.state(each).stage == "waiting"]
        return job.id == min(waiting, key=self.kept_ns, default=job.id)

    def begun(self, job: Job) -> Job:
        """Return a job whose work begins. The time that it is kept begins too: others may have had it wait."""
        job = msgspec.structs.replace(job, at=time.time())
        with suppress(Problem):  # it was deleted, or the disk is full
            self.keep(job)
        self.put(job, State("working"))
        return job

    def why_end(self, job: Job) -> str:
        """Return the reason to end the work of a job; empty if it goes on."""
        if self._stopping.is_set():
            return say("the server is stopping")
        if not self.is_here(job):
            return say("it was cancelled")
        if self.room(job.owner) < 0:
            return say(
                "its results take too much room: ask for less at once, or use `stream-scrub` in a terminal"
            )
        return ""

    def need_idle(self, owner: str) -> None:
        """Raises Problem (429) while a file of the owner is not finished: nobody takes all places for scrubbing."""
        if any(self.state(job).is_unfinished for job in self.of(owner)):
            raise busy(say("another file or question of yours is not finished: wait for it, or cancel it"))

    def _need_place(self, owner: str) -> None:
        self.need_idle(owner)
        super()._need_place(owner)

    def _prepare(self, job: Job) -> None:
        self.results(job).mkdir(mode=0o700)
        (self.folder / job.id / _LISTS).mkdir(mode=0o700)
        write(self.folder / job.id / _STATE, State("receiving"))

    def state(self, job: Job) -> State:
        """Return what has become of a job."""
        try:
            return _decode_state((self.folder / job.id / _STATE).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return State("failed", why=say("it was deleted"))

    def put(self, job: Job, state: State) -> bool:
        """Store what has become of a job; a new preview replaces the one before. Returns whether it is stored: not if the
        job was deleted, or the disk is full."""
        try:
            if state.preview is not None:
                write(self.folder / job.id / _PREVIEW, state.preview)
            write(self.folder / job.id / _STATE, msgspec.structs.replace(state, preview=None))
        except OSError:
            return False
        return True

    def preview(self, job: Job) -> Preview | None:
        """Return what the file of a job looks like, as it was read last."""
        try:
            return _decode_preview((self.folder / job.id / _PREVIEW).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None

    def tidy(self, job: Job, state: State) -> None:
        """Delete what nothing needs any more: files that cannot be scrubbed again, and the results of a scrubbing that was
        ended."""
        if not state.asks:
            shutil.rmtree(self.upload(job), ignore_errors=True)
            shutil.rmtree(self.folder / job.id / _LISTS, ignore_errors=True)
        if state.stage == "failed":
            shutil.rmtree(self.results(job), ignore_errors=True)

    def own_list(self, job: Job, field: str) -> Path:
        """Return the folder of the list that a field of the form is for."""
        return self.folder / job.id / _LISTS / field

    def own_lists(self, job: Job) -> list[Path]:
        """Return the folders of the lists that a job has."""
        with suppress(OSError):
            return sorted((self.folder / job.id / _LISTS).iterdir())
        return []

    def results(self, job: Job) -> Path:
        """Return the folder of the results."""
        return self.folder / job.id / _RESULTS
