"""Six people's first hour: each begins with an installed wheel and an empty folder, follows the page, makes a mistake, and
gets on by the words of the error alone."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fakes.lists import consents
from tests.support.names import unique_name
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import day_in_france
from tests.support.running.worker import environment
from tests.support.texts.pages import ROOT, blocks
from tests.support.waiting import wait_until

pytestmark = pytest.mark.process
ROLES = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused")


class Shell:
    """A person's shell: the installed command on the path, a folder of their own."""

    def __init__(self, bin_folder: Path, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in env.items() if name != "PYTHONPATH"}
        self.env = kept | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "COLUMNS": "100"}

    def run(self, script: str, exits: int = 0) -> str:
        """Run lines; returns what they said on both outputs. They must end with this code."""
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == exits, f"{script}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def daemon(self, script: str, until: str) -> Iterator[str]:
        """Run a daemon at a terminal for as long as the context lasts; yields what it said up to some word."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-euc", f"exec {script}"], cwd=self.folder, env=self.env, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said, until_s = "", time.monotonic() + 240
        try:
            while until not in said:
                assert time.monotonic() < until_s and process.poll() is None, said
                said += os.read(ours, 65536).decode(errors="replace")
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0, said
            os.close(ours)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a new environment with the wheel of this checkout; only its dependencies are ours."""
    folder = tmp_path_factory.mktemp("installed")
    environment_ = folder / "venv"
    pip = ["-m", "pip", "--python", str(environment_), "install", "--quiet", "--no-index", "--no-deps"]
    for command in (
        ["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        ["-m", "venv", "--without-pip", str(environment_)],
        [*pip, "--disable-pip-version-check", "--find-links", str(folder), "stream-scrub"],
    ):
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    (packages,) = environment_.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment_ / "bin"


@pytest.fixture
def shell(installed, tmp_path) -> Shell:
    """A person without a Kafka."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_SCRUB_")}
    return Shell(installed, tmp_path, env)


def on_kafka(installed: Path, folder: Path, bootstrap: str) -> Shell:
    """A person with a Kafka that holds nothing of ours: topics that no other test knows."""
    unique = unique_name()
    env = environment(bootstrap, {role: f"{role}-{unique}" for role in ROLES}, log__format="auto")
    return Shell(installed, folder, env | {"STREAM_SCRUB_WORKER__GROUP_ID": f"scrub-{unique}"})


def advised(said: str) -> str:
    """The command that an error tells to run."""
    return re.findall(r"`(stream-scrub [^`]+)`", said)[0]


def test_a_marketer_scrubs_a_file(shell):
    """Somebody with a file of leads would be stopped by a slip that no message explains."""
    command = blocks(ROOT / "docs" / "files.md")[0].text.strip()
    for name, content in (
        ("leads.csv", "name;phone\nA;06 12 34 56 78\nB;06 12 34 56 80\n"),
        ("opt-outs.txt", "0612345678\n"),
        ("consents.csv", consents(["0612345678", "0612345680"])),
    ):
        assert f"{name}: " in shell.run(command, exits=2), "the page's command names the file that is missing"
        (shell.folder / name).write_text(content)
    assert "-o with the folder" in shell.run(command.replace("-o scrubbed", ""), exits=2)
    slip = shell.run(command.replace("internal=opt-outs.txt", "opt-outs.txt"), exits=2)
    assert "write REGISTER=FILE, as in internal=" in slip
    assert "no column is called 'fone'" in shell.run(f"{command} --column fone", exits=2)

    said = shell.run(command)

    assert "opposed" in said and "start with report.html" in said
    assert "--force" in shell.run(command, exits=2)
    shell.run(f"{command} --force")
    assert "06 12 34 56 78" in (shell.folder / "scrubbed" / "blocked.csv").read_text()
    assert "everything is unchanged" in shell.run(
        "stream-scrub file leads.csv --verify scrubbed/proof.json --list internal=opt-outs.txt --list consent@acme=consents.csv"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_diallers_engineer_asks_the_api(shell):
    """An integrator would look for the address in a line of JSON, and compose the first request from the reference."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = f"stream-scrub serve --trial --set http.listen=127.0.0.1:{port}"
        assert "choose another address" in shell.run(busy, exits=1)
    with shell.daemon(busy, "listening") as said:
        assert said.startswith("stream-scrub: a trial") and f"http://127.0.0.1:{port}/docs" in said
        (line,) = re.findall(r"try +(curl .*)\r", said)
        wait_until(lambda: '"blocked"' in shell.run(line), every=0.5)
        assert json.loads(shell.run(line))["reason"] == "opposed"
        assert "number" in shell.run(line.replace('"number"', '"numbr"'))
        assert json.loads(shell.run(line.replace("56 78", "56 80")))["verdict"] == "allowed"


def test_a_python_developer_checks_a_number(shell):
    """A programmer would copy the first example and get a traceback that names no file."""
    (shell.folder / "first.py").write_text(blocks(ROOT / "docs" / "python.md")[0].text)
    assert "opt-outs.csv" in subprocess.run(
        [shell.env["PATH"].partition(":")[0] + "/python", "first.py"],
        cwd=shell.folder, env=shell.env, capture_output=True, text=True,
    ).stderr  # fmt: skip
    (shell.folder / "opt-outs.csv").write_text("phone\n06 12 34 56 78\n")
    (shell.folder / "consents.csv").write_text(consents(["06 12 34 56 80"]))
    assert "blocked opposed" in shell.run("python first.py")


@pytest.fixture(scope="module")
def operator(installed, kafka, tmp_path_factory) -> Shell:
    """The operator's folder and Kafka, which the compliance officer asks later."""
    made = on_kafka(installed, tmp_path_factory.mktemp("operator"), kafka.bootstrap)
    (made.folder / "opt-outs.csv").write_text("phone\n06 12 34 56 78\n")
    (made.folder / "leads.csv").write_text("name;phone\nA;06 12 34 56 78\nB;06 12 34 56 80\n")
    return made


@pytest.mark.slow
def test_an_operator_starts_on_a_new_kafka(operator, kafka):
    """Whoever has a Kafka and a list would not find the next command in what the last one said."""
    shell = operator
    assert advised(shell.run("stream-scrub lists status", exits=1)) == "stream-scrub topics"
    shell.run("stream-scrub topics")
    told = advised(shell.run("stream-scrub lists status"))
    shell.run(told.replace("FILE", "opt-outs.csv").replace("NAME", "internal"))
    assert "opt-outs.csv" in shell.run("stream-scrub lists status")
    assert "blocked opposed" in shell.run("stream-scrub check '06 12 34 56 78'")

    shell.run("stream-scrub produce leads.csv")
    outputs = [shell.env[f"STREAM_SCRUB_TOPICS__{role}"] for role in ("ALLOWED", "BLOCKED")]
    with shell.daemon("stream-scrub worker", "started") as said:
        assert (
            said.startswith("stream-scrub: scrubbing prospects") and outputs[0] in said and "Ctrl-C" in said
        )
        wait_until(lambda: count(kafka.bootstrap, outputs) == 2, every=0.3)


@pytest.mark.slow
def test_an_officer_proves_a_call_from_a_number_and_a_day(operator, kafka):
    """A complaint with a number and a day would wait for somebody who knows partitions and offsets."""
    shell = operator
    emitted = next(read_all(kafka.bootstrap, shell.env["STREAM_SCRUB_TOPICS__BLOCKED"]))
    day = day_in_france(json.loads(emitted.value())["scrub"])
    asked = "stream-scrub dossier '06 12 34 56 78'"
    assert "Held on +33612345678: verdicts 1," in shell.run(asked)
    assert "write it as 2026-08-10" in shell.run(f"{asked} --from 12/11/2026", exits=2)
    assert "cannot be shown to be lawful" in shell.run(f"{asked} --from 2026-11-01 --to 2026-11-02")
    assert "opt-outs.csv" in shell.run("stream-scrub lists history '06 12 34 56 78'")

    said = shell.run(f"{asked} --from {day} --out dossier.html")

    assert "a call to +33612345678 was not lawful." in said
    assert "blocked, opposed; same when repeated" in said and "open it in a browser" in said
    page = (shell.folder / "dossier.html").read_text()
    assert page.index("was not lawful") < page.index("Blocked: opposed") < page.index("Grounds")
    assert "opt-outs.csv" in page and "src=" not in page


def test_a_newcomer_understands_the_demo_and_goes_on(installed, kafka, tmp_path):
    """The demo would impress nobody who does not know its words, and its next commands would fail."""
    shell = on_kafka(installed, tmp_path, kafka.bootstrap)
    said = shell.run("stream-scrub demo --seconds 5 --rate 500")
    assert said.startswith("What you see: leads go into a Kafka")
    explained = set(
        re.findall(
            r"(?m)^ +([a-z-]+)  +\S", said.partition("lists, spelled")[0] + said.partition("reason says")[2]
        )
    )
    screen = said.partition("of 5  ")[2].partition("What each reason")[0]
    assert set(re.findall(r"(?m)^ {2,4}([a-z-]+) {2}", screen)) <= explained, (
        "a word on the screen is not explained"
    )
    lines = [line.strip() for line in said.partition("Next:")[2].splitlines() if line.strip()]
    commands = [line for line in lines if not line.startswith("#")]
    assert len(commands) > 5
    daemons = ("stream-scrub serve", "stream-scrub worker")
    steps = [
        line.replace("localhost:9092", kafka.bootstrap) for line in commands if not line.startswith(daemons)
    ]
    assert "blocked opposed" in shell.run("\n".join(steps))
