"""A stage for the main job: fresh topics made by `stream-scrub topics`, lists imported by `stream-scrub lists import`."""

import uuid
from collections.abc import Iterable
from pathlib import Path

from tests.support.worker import WorkerProcess, environment, run, run_json

# Today's French rule asks for consent, so every French number that may be called is in this register.
CONSENT = "consent"
INTERNAL = "internal"


class Stage:
    """Topics and group of one test; `env` is what a worker of it needs."""

    def __init__(self, bootstrap: str, folder: Path, partitions: int = 4, **settings: object) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        unique = uuid.uuid4().hex[:8]
        roles = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "refused")
        self.topics = {role: f"{role}-{unique}" for role in roles}
        self.env = environment(bootstrap, self.topics, worker__group_id=f"group-{unique}", **settings)
        made = run(["topics", "--partitions", str(partitions)], self.env)
        assert made.returncode == 0, made.stdout + made.stderr
        self._workers: list[WorkerProcess] = []

    @property
    def outputs(self) -> list[str]:
        return [self.topics["allowed"], self.topics["blocked"]]

    def list_file(self, numbers: Iterable[int], name: str = "list.txt") -> Path:
        path = self.folder / name
        path.write_text("".join(f"+{number}\n" for number in numbers))
        return path

    def load(self, register: str, numbers: Iterable[int], *options: str) -> dict:
        """Import a list; what the command reported."""
        file = self.list_file(numbers, f"{register}.txt")
        return run_json(["lists", "import", str(file), "--register", register, *options], self.env)

    def worker(self, identity: str, *arguments: str, **settings: object) -> WorkerProcess:
        env = self.env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in settings.items()}
        made = WorkerProcess(env, identity, self.folder / f"{identity}.log", arguments)
        self._workers.append(made)
        return made

    def close(self) -> None:
        for worker in self._workers:
            worker.__exit__()


def expected_by(opposed: set[int], consented: set[int], true_number):
    """The verdict that today's French law gives on a prospect with one number, by plain sets."""

    def expected(lead: dict, _stamp: dict) -> str:
        phone = lead.get("phone")
        number = true_number(str(phone), lead.get("country", "FR")) if isinstance(phone, (str, int)) else None
        if number is None:
            return "blocked 0"
        return f"{'allowed' if number in consented and number not in opposed else 'blocked'} {number}"

    return expected
