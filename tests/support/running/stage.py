"""A stage for the main job: fresh topics made by `stream-scrub topics`, lists imported by `stream-scrub lists import`."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from stream_scrub.config.settings import Topics, Worker
from stream_scrub.model import OWN, family
from stream_scrub.rules.book import Rulebook
from tests.support.fakes.lists import consents
from tests.support.names import unique_name
from tests.support.running import clients
from tests.support.running.clients import Address
from tests.support.running.worker import (
    FanoutProcess,
    RecallProcess,
    RetryProcess,
    WorkerProcess,
    environment,
    run,
    run_json,
)

# Today's French rule asks for a consent to the caller, so every French number that the house may call is in this register.
CONSENT = "consent"
KNOWN = {*Rulebook.load().registers, *OWN}
INTERNAL = "internal"
WITHOUT_EXTENSION = Path(__file__).parents[1] / "without_extension"
SLOW_CLOCK = Path(__file__).parents[1] / "slow_clock"
ROLES = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused", "attempts")
OWN_ROLES = ("receipts", "dead")  # the fan-out makes them


class Stage:
    """Topics and group of one test; `env` is what a worker of it needs.

    They have names of their own (with `suffix`, those). With `product_names` they have the default names, for a test that has its own Kafka.
    The stage's own commands, and the tests' oracle, connect to `address`. A process may be started as another user
    (`client`).
    """

    def __init__(
        self,
        address: Address,
        folder: Path,
        partitions: int = 4,
        *,
        product_names: bool = False,
        suffix: str = "",
        **settings: object,
    ) -> None:
        self.bootstrap = address
        self.folder = folder
        unique = suffix or unique_name()
        self.topics = (
            Topics().model_dump()
            if product_names
            else {role: f"{role}-{unique}" for role in (*ROLES, *OWN_ROLES)}
        )
        group = Worker().group_id if product_names else f"group-{unique}"
        # Tests write prospects of any year, which a retention would delete.
        self._settings = {"worker__group_id": group, "recall__keep_days": 10_000} | settings
        if not product_names:
            self._settings.setdefault("lists__requests_group", f"publisher-{self.topics['log']}")
        self.env = self.env_of(address)
        made = run(["topics", "--partitions", str(partitions)], self.env)
        assert made.returncode == 0, made.stdout + made.stderr
        self._workers: list[WorkerProcess] = []

    def env_of(self, client: Address) -> dict[str, str]:
        """What a process needs to be that client."""
        told = clients.settings(client, self.folder)
        return environment(told.pop("kafka__bootstrap_servers"), self.topics, **told, **self._settings)

    @property
    def outputs(self) -> list[str]:
        return [self.topics["allowed"], self.topics["blocked"]]

    def judge_by(self, text: str) -> None:
        """Have French numbers judged by this rule file from now on."""
        folder = self.folder / "rules"
        folder.mkdir()
        (folder / "fr.toml").write_text(text)
        self.env["STREAM_SCRUB_RULES__FOLDER"] = str(folder)

    def list_file(self, numbers: Iterable[int], name: str = "list.txt") -> Path:
        path = self.folder / name
        path.write_text("".join(f"+{number}\n" for number in numbers))
        return path

    def load(
        self, register: str, numbers: Iterable[int], *options: str, client: Address | None = None
    ) -> dict:
        """Import a list, and create the register where no rule uses its name. Returns what the command reported."""
        if family(register) not in KNOWN:
            options = (*options, "--register-unknown")
        file = self.list_file(numbers, f"{register}.txt")
        if family(register).startswith(CONSENT):
            file.write_text(consents(f"+{number}" for number in numbers))
        env = self.env if client is None else self.env_of(client)
        return run_json(["lists", "import", str(file), "--register", register, *options], env)

    def worker(
        self,
        identity: str,
        *arguments: str,
        client: Address | None = None,
        extension: bool = True,
        **settings: object,
    ) -> WorkerProcess:
        """With the extension if it is installed, or without: then records go by the client's Python binding."""
        env = self.env if client is None else self.env_of(client)
        env = env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in settings.items()}
        if not extension:
            env["PYTHONPATH"] = os.pathsep.join([str(WITHOUT_EXTENSION), os.environ.get("PYTHONPATH", "")])
        made = WorkerProcess(env, identity, self.folder / f"{identity}.log", arguments)
        self._workers.append(made)
        return made

    def retry(self, identity: str, *arguments: str) -> WorkerProcess:
        made = RetryProcess(self.env, identity, self.folder / f"{identity}.log", arguments)
        self._workers.append(made)
        return made

    def recall(
        self, identity: str, *, client: Address | None = None, slow_clock: bool = False, **settings: object
    ) -> WorkerProcess:
        env = self.env if client is None else self.env_of(client)
        env = env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in settings.items()}
        if slow_clock:
            env["PYTHONPATH"] = os.pathsep.join([str(SLOW_CLOCK), os.environ.get("PYTHONPATH", "")])
        made = RecallProcess(env, identity, self.folder / f"{identity}.log")
        self._workers.append(made)
        return made

    def fanout(self, targets: dict[str, dict], **settings: object) -> WorkerProcess:
        env = self.env | {f"STREAM_SCRUB_{key.upper()}": str(value) for key, value in settings.items()}
        env["STREAM_SCRUB_FANOUT__TARGETS"] = json.dumps(targets)
        made = FanoutProcess(env, "fanout", self.folder / "fanout.log")
        self._workers.append(made)
        return made

    def close(self) -> None:
        for worker in self._workers:
            worker.__exit__()


# A rule of somebody's own by which a consent is to every campaign.
TO_EVERYBODY = """
country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a rule made for the tests"
deny = ["internal"]
require = ["consent"]
"""


def expected_by(opposed: set[int], consented: set[int], true_number):
    """The verdict that today's French law gives on a prospect with one number, by plain sets."""

    def expected(lead: dict, _stamp: dict) -> str:
        phone = lead.get("phone")
        number = true_number(str(phone), lead.get("country", "FR")) if isinstance(phone, (str, int)) else None
        if number is None:
            return "blocked 0"
        return f"{'allowed' if number in consented and number not in opposed else 'blocked'} {number}"

    return expected
