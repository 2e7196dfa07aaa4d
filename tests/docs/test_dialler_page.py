"""docs/dialler.md and the kits' pages: their programs for diallers run as they stand there, in their languages, on a
real Kafka, behind a real worker."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_scrub.dialler.allowed import SEEN_S
from tests.kafka.broker import free_ports
from tests.support import kits
from tests.support.names import unique_name
from tests.support.running.dialler import now, write
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.server import ServerProcess
from tests.support.running.stage import Stage
from tests.support.running.worker import environment
from tests.support.texts.pages import ROOT, Block, blocks
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "dialler.md"
PROGRAMS = [block for block in blocks(PAGE) if block.language in ("python", "sh")]
ALLOWED, TAKEN_BACK, WITH_CHECK, KCAT, OPT_OUT = PROGRAMS
JAVA, GO = (
    block
    for kit in ("java", "go")
    for block in blocks(ROOT / "kits" / kit / "README.md")
    if block.language == kit and "Allowed(" in block.text
)
FREE, OTHER, RECALLED, OPPOSED = 33612345680, 33612345681, 33612345682, 33612345678
SETTINGS = {  # in front of what a program sets: its leads are there before it, and the kits' default topics are set again
    "settings={": 'start="beginning", ',
    "settings.zones =": 'settings.start = "beginning";\nsettings.allowed = java.util.List.of("prospects.allowed");\n'
    'settings.recalled = "prospects.recalled";\n',
    "Zones: ": 'Start: "beginning",\nTopics: []string{"prospects.allowed"},\nRecalled: "prospects.recalled",\n',
}
DIAL = "def dial(lead, numbers):\n    print('dial', *numbers, flush=True)\n\n"
LEADS = (
    f"{ALLOWED.text.partition('with ')[0]}leads = {ALLOWED.text.partition('with ')[2].partition(' as ')[0]}\n"
)


@pytest.fixture(scope="module")
def judged(kafka, tmp_path_factory) -> list[bytes]:
    """What a worker allows, at any hour of the test: two numbers, one that is allowed again after the log has moved on, and a
    lead with two."""
    stage = Stage(kafka.bootstrap, tmp_path_factory.mktemp("dialler"), partitions=1)
    stage.load("internal", [OPPOSED])
    stage.load("consent", [FREE, OTHER, RECALLED, OPPOSED])
    with stage.worker("w1"):
        publish(stage, [f"+{FREE}", f"+{OPPOSED}", f"+{RECALLED}", [f"+{FREE}", f"+{OTHER}"]])
        stage.load("internal@other", [OPPOSED])
        publish(stage, [f"+{RECALLED}", f"+{OTHER}"])
    stage.close()
    leads = [json.loads(each.value()) for each in read_all(kafka.bootstrap, stage.topics["allowed"])]
    for each in leads:
        each["scrub"].pop("call", None)
    return [json.dumps(each).encode() for each in leads]


def publish(stage: Stage, phones: list[object]) -> None:
    """Publish prospects with these numbers, and wait for their verdicts."""
    before = count(stage.bootstrap, stage.outputs)
    leads = ((b"k", prospect(at, phone)) for at, phone in enumerate(phones))
    produce(stage.bootstrap, stage.topics["prospects"], leads)
    wait_until(lambda: count(stage.bootstrap, stage.outputs) == before + len(phones), every=0.3)


def index_of(value: bytes) -> int:
    return json.loads(value)["scrub"]["index"]


def notice(kind: str, index: int, **more: object) -> bytes:
    return json.dumps({"kind": kind, "index": index, "at": now(), **more}).encode()


class Place(NamedTuple):
    """A broker, and topics of one test's own."""

    bootstrap: str
    allowed: str
    recalled: str

    def placed(self, text: str) -> str:
        """A program for this place, in a group of its own."""
        text = text.replace("localhost:9092", self.bootstrap)
        for program, settings in SETTINGS.items():
            text = text.replace(program, settings + program)
        text = text.replace('"dialler-', f'"dialler-{unique_name()}-')
        return text.replace("prospects.allowed", self.allowed).replace("prospects.recalled", self.recalled)


@pytest.fixture
def place(kafka, topic, judged) -> Place:
    """The worker's leads, and on the topic of recalls: a number, and a register that was stale for a while."""
    made = Place(kafka.bootstrap, topic("allowed", partitions=2), topic("recalled", partitions=2))
    write(made.bootstrap, made.allowed, *judged)
    stamps = [json.loads(each)["scrub"] for each in judged]
    first = next(each for each in stamps if each.get("number") == f"+{RECALLED}")
    recall = notice("recalled", first["index"], at=first["at"], number=f"+{RECALLED}")
    write(made.bootstrap, made.recalled, recall)
    for kind in ("suspended", "resumed"):
        write(
            made.bootstrap, made.recalled, notice(kind, index_of(judged[0]), register="internal"), partition=0
        )
    return made


@contextmanager
def running(place: Place, command: list[str], folder: Path) -> Iterator[Callable[[], list[str]]]:
    """A program while the context lasts, by what it has printed so far."""
    out, errors = folder / "out.txt", folder / "program.log"
    env = environment(place.bootstrap, {"allowed": place.allowed, "recalled": place.recalled})
    with out.open("wb") as file, errors.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**env, "PYTHONPATH": str(ROOT)}, stdout=file, stderr=log
        )

    stopping = threading.Event()
    proving = threading.Thread(target=prove, args=(place, stopping), daemon=True)
    proving.start()

    def printed() -> list[str]:
        assert process.poll() in (None, 0), errors.read_text()
        return out.read_text().splitlines()

    try:
        yield printed
    finally:
        process.kill()
        process.wait()
        stopping.set()
        proving.join()


def prove(place: Place, stopping: threading.Event) -> None:
    """Show that recall works, as `stream-scrub recall` does."""
    partitions = [f"{place.allowed}/{number}" for number in range(2)]
    while not stopping.wait(1):
        write(place.bootstrap, place.recalled, notice("alive", 0, partitions=partitions, lag_ms=0))


def python(text: str, folder: Path) -> list[str]:
    (folder / "program.py").write_text(text)
    return [sys.executable, "program.py"]


def test_every_block_is_run():
    """A program on the page would rot unseen."""
    known: list[Block] = [ALLOWED, TAKEN_BACK, WITH_CHECK, KCAT, OPT_OUT]
    assert [each.language for each in known] == ["python"] * 3 + ["sh", "python"]
    assert len(PROGRAMS) == len(known)


@pytest.mark.parametrize(
    ("program", "prelude", "prepare"),
    [
        pytest.param(ALLOWED, DIAL, python, id="Allowed"),
        pytest.param(JAVA, "", kits.java, id="java", marks=pytest.mark.slow),
        pytest.param(GO, "", kits.go, id="go", marks=pytest.mark.slow),
    ],
)
def test_a_dialler_dials_whom_it_may_and_nobody_who_was_recalled(
    place, judged, tmp_path, program, prelude, prepare
):
    """What an engineer copies would not run, or would call a person who objected after the lead had left."""
    expected = [f"dial +{FREE}", f"dial +{RECALLED}", f"dial +{OTHER}", f"dial +{FREE} +{OTHER}"]
    with running(place, prepare(place.placed(prelude + program.text), tmp_path), tmp_path) as printed:
        wait_until(lambda: len(printed()) >= len(expected))
        assert sorted(printed()) == sorted(expected)

        # It follows: what is recalled from now on is not dialled, and what comes after it is.
        position = index_of(judged[-1])
        write(place.bootstrap, place.recalled, notice("recalled", position + 1, number=f"+{OTHER}"))
        time.sleep(SEEN_S)  # what `Allowed` promises
        stamp = {
            "verdict": "allowed",
            "reason": "clear",
            "index": position,
            "rules": "fr@000000",
            "at": now(),
        }
        for number in (OTHER, FREE):
            write(
                place.bootstrap,
                place.allowed,
                json.dumps({"scrub": {**stamp, "number": f"+{number}"}}).encode(),
                partition=0,
            )
        wait_until(lambda: len(printed()) > len(expected))
        assert printed()[len(expected) :] == [f"dial +{FREE}"]


@pytest.mark.slow
def test_a_queue_is_told_what_to_remove(place, judged, tmp_path):
    """A lead that waits in a dialler's own queue would be called after its person has objected."""
    taken = "".join(f"    {line}\n" for line in TAKEN_BACK.text.splitlines())
    text = f"""{LEADS}
def remove_from_queue(key, why):
    print(key, why, flush=True)
for _ in range({len(judged) - 1}):
    print(next(leads).stamp.index, flush=True)
while True:
{taken}"""
    with running(place, python(place.placed(text), tmp_path), tmp_path) as printed:
        wait_until(lambda: len(printed()) >= len(judged) - 1)
        write(place.bootstrap, place.recalled, notice("recalled", index_of(judged[-1]), number=f"+{OTHER}"))
        wait_until(lambda: len(printed()) >= len(judged) + 1)
        keys = sorted(
            str(str(at).encode()) for at, value in enumerate(judged) if f"+{OTHER}".encode() in value
        )
        assert sorted(printed()[len(judged) - 1 :]) == [f"{key} recalled" for key in keys]


@pytest.mark.slow
def test_the_check_api_has_the_last_word_and_takes_a_no(kafka, judged, topic, tmp_path):
    """A dialler who copies the programs would call somebody who objected a moment ago, or lose what the person said."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=1)
    stage.load("internal", [OTHER])
    stage.load("consent@acme", [FREE, OTHER, RECALLED])
    place = Place(kafka.bootstrap, topic("allowed"), topic("recalled"))
    write(place.bootstrap, place.allowed, *judged)
    with ServerProcess(stage, f"127.0.0.1:{free_ports(1)[0]}") as server:
        wait_until(server.ready)
        with_check = place.placed(f"{DIAL}{LEADS}{WITH_CHECK.text}").replace(
            "http://127.0.0.1:8080", server.url
        )
        with running(place, python(with_check, tmp_path), tmp_path) as printed:
            wait_until(lambda: len(printed()) >= 3)
            assert sorted(set(printed())) == [f"dial +{FREE}", f"dial +{RECALLED}"]
        opt_out = OPT_OUT.text.replace("http://127.0.0.1:8080", server.url)
        exec(compile(opt_out, str(PAGE), "exec"), {})
    (request,) = read_all(kafka.bootstrap, stage.topics["requests"])
    assert json.loads(request.value())["request"] == "opt-out"
    stage.close()


def test_kcat_shows_the_leads_with_their_keys(place, judged, kcat, tmp_path):
    """Who looks at the topic from a terminal would see nothing, or what was aborted."""
    done = subprocess.run(
        ["bash", "-ec", place.placed(KCAT.text)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{at} {value.decode()}" for at, value in enumerate(judged)
    )
