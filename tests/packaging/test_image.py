"""The image as an operator builds and runs it: small, with nothing to build or install in it, not root, nothing written
outside its state folder, and ended by SIGTERM though it is process 1. On the real Kafka.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from stream_scrub import __version__
from stream_scrub.config import load
from tests.packaging.test_compose import SERVICES
from tests.support.fakes.lists import consents
from tests.support.packaging.builder import ROOT, run
from tests.support.packaging.contained import STATE, Contained, output
from tests.support.running.outcome import compare, count
from tests.support.running.prospects import french_mobiles, produce, prospect, spell, true_number
from tests.support.running.stage import Stage, expected_by
from tests.support.waiting import wait_until

ABOVE_MAX = 150_000_000
# The tests' machine has other servers: health and metrics take a free port of loopback.
LOOPBACK = {"STREAM_SCRUB_HTTP__LISTEN": "127.0.0.1:0"}
# How compose.yaml asks a container whether it is well.
ALIVE = SERVICES["worker"]["healthcheck"]["test"]


def port_of(said: str) -> str:
    """Where health and metrics are, by the log."""
    (line,) = [json.loads(line) for line in said.splitlines() if '"event":"listening"' in line]
    return str(line["port"])


def python(image, code: str, log_file: Path) -> str:
    return output(image, ["-c", code], log_file, program=("python",))


def test_it_is_small(image, record_property):
    """Each node would pull what nobody needs, for minutes, whenever a worker moves there."""
    size = image.size()
    shown = f"{size.above / 1e6:.1f} MB above its base of {size.base / 1e6:.0f} MB"
    record_property("image", shown)
    assert size.above <= ABOVE_MAX, shown


def test_it_says_what_it_is_and_how_to_run_it(image, revision):
    """An orchestrator would run it as root, stop it by the wrong signal or lose its snapshots; nobody could tell its source."""
    config = image.config
    labels = {name.removeprefix("org.opencontainers.image."): told for name, told in config["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == (
        "stream-scrub",
        __version__,
        "Apache-2.0",
    )
    assert labels["revision"] == revision
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["stream-scrub"] and not config.get("Cmd")
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert load(environ=dict(pair.split("=", 1) for pair in config["Env"])).http.listen == "0.0.0.0:8080"
    assert list(config["Volumes"]) == [STATE] and config["WorkingDir"] == "/etc/stream-scrub"
    own = (image.root / "etc/stream-scrub").stat()  # a settings file there is root's, and nobody drops one
    assert (own.st_uid, own.st_gid, own.st_mode & 0o022) == (0, 0, 0)
    told = (image.root / STATE[1:]).stat()
    assert (told.st_uid, told.st_gid) == (10001, 10001)


def test_a_build_without_arguments_says_the_right_version():
    """`docker compose up` would build an image that claims to be another release."""
    (default,) = re.findall(r"(?m)^ARG VERSION=(.*)$", (ROOT / "Containerfile").read_text())
    assert default == __version__


def test_where_nothing_builds_images_make_says_what_to_install():
    """A user without a builder would read a shell's complaint about an empty command."""
    done = subprocess.run(["make", "image", "IMAGE_BUILD="], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "buildah or docker" in done.stdout


def test_nothing_in_it_builds_or_installs(image):
    """Whoever breaks into a container would find the tools to go on with, and scanners report what is never used."""
    unwanted = re.compile(
        r"(cc|c\+\+|gcc|g\+\+|cpp|as|ld|clang|make|cython|cythonize|hatchling|uv|pip|f2py)(-?\d[\d.]*)?|[\w-]+-linux-gnu-(gcc|as|ld)\S*"
    )
    packages = re.compile(r"(?i)(pip|setuptools|wheel|cython|hatchling|ensurepip)(-[\d.]+.*)?")
    found = []
    for folder, folders, names in os.walk(image.root):
        here = Path(folder)
        if here.name in {"bin", "sbin"}:
            found += [here / name for name in names if unwanted.fullmatch(name)]
        if here.name in {"site-packages", "dist-packages"} or re.fullmatch(r"python3(\.\d+)?", here.name):
            found += [here / name for name in (*folders, *names) if packages.fullmatch(name)]
    assert [str(path.relative_to(image.root)) for path in found] == []
    for left in ("build", "src", "wheels"):
        assert not (image.root / left).exists()
    for secret in ("run/secrets", "root/.config/pip", "etc/pip.conf"):
        path = image.root / secret
        assert not path.exists() or (path.is_dir() and not any(path.iterdir()))


def test_nothing_in_it_has_to_be_compiled_when_it_starts(image):
    """Every start would compile all modules again, since nothing may be written, and take seconds of a whole core."""
    (packages,) = (image.root / "opt" / "stream-scrub" / "lib").glob("python3*/site-packages")
    sources = [path for path in packages.rglob("*.py") if "__pycache__" not in path.parts]
    assert len(sources) > 500
    missing = []
    for path in sources:
        made = list((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))
        # Flags 1: by hash, and never compared with the source.
        if len(made) != 1 or made[0].read_bytes()[4:8] != b"\x01\x00\x00\x00":
            missing.append(str(path.relative_to(packages)))
    assert missing == []


def test_nobody_in_it_may_write_but_to_its_state(image, state, tmp_path):
    """A break-in could change the program, or an orchestrator that forbids writing could not run it."""
    code = "import os\nprint(os.getpid(), os.getuid(), os.getgid(), os.getgroups())\n"
    code += "import tempfile\ntempfile.NamedTemporaryFile(delete=False).close()\n"
    code += "for place in ('/', '/tmp', '/opt/stream-scrub', '/etc', '/etc/stream-scrub'):\n"
    code += "    try:\n        open(place + '/x', 'w')\n    except OSError as error:\n        print(place, error.errno)\n"
    told = output(image, ["-c", code], tmp_path / "log", program=("python",), mounts={STATE: state})
    readonly = "\n".join(
        f"{place} 30" for place in ("/", "/tmp", "/opt/stream-scrub", "/etc", "/etc/stream-scrub")
    )
    assert told == f"1 10001 10001 [10001]\n{readonly}\n"
    (made,) = (
        state.iterdir()
    )  # and what is sorted out beside the memory, as a list of our own format is, finds a place
    assert made.stat().st_uid == 10001


def test_it_starts_with_its_extension(image, tmp_path):
    """Every prospect would cost twice the time, and nothing would say why."""
    code = "from stream_scrub.scrub import backend\nprint(backend.BEST.name)"
    assert python(image, code, tmp_path / "log") == "native\n"
    assert output(image, ["--version"], tmp_path / "log").startswith(f"stream-scrub {__version__} (Python ")


def test_it_compiles_the_registrys_protobuf_schemas(image, state, tmp_path):
    """Streams in Protobuf would stop in the image only, which has protoc without the packages that its package asks for."""
    code = (
        "from stream_scrub.registry.client import Schema\nfrom stream_scrub.registry.protoc import compiled\n"
    )
    code += """text = 'syntax = "proto3"; import "google/protobuf/wrappers.proto"; message Lead { string phone = 1; }'\n"""
    code += "print(compiled(Schema('PROTOBUF', text))[-1].message_type[0].name)"
    told = output(image, ["-c", code], tmp_path / "log", program=("python",), mounts={STATE: state})
    assert told == "Lead\n"


def test_what_was_left_out_of_it_changes_no_number(image, tmp_path):
    """A number would be read as another, or as none, in the image only: an opposed one could be called."""
    script = ROOT / "tests" / "support" / "packaging" / "answers.py"
    here = run([sys.executable, str(script)])
    there = python(image, script.read_text(), tmp_path / "log")
    assert there == here
    assert int(here.split()[0]) > 3000 and here.endswith("[]\n")


def test_a_stop_while_it_starts_is_heard(image, state, tmp_path):
    """A container stopped in its first second would go on until its grace period is over, and a rollout wait for it."""
    with Contained(image, ["demo", "--seconds", "60"], tmp_path / "log", mounts={STATE: state}) as running:
        code, took_s = running.stop()
    assert code == 143
    assert took_s < 60  # a pod's grace, in the manifests


def test_a_worker_in_it_scrubs_and_stops_when_told(image, kafka, state, tmp_path):
    """Deployed for real it would scrub nothing, keep no snapshot, look dead, or be killed in the middle of a batch."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=2, worker__state_dir=STATE)
    opposed, *free = french_mobiles(300, seed=61)
    stage.load("internal", [opposed])
    stage.load("consent", free, "--kind", "allow")
    settings = {name: told for name, told in stage.env.items() if name.startswith("STREAM_SCRUB_")}
    leads = [(b"k", prospect(n, spell(number, n))) for n, number in enumerate([opposed, *free] * 10)]
    with Contained(
        image, ["worker", "--id", "w"], tmp_path / "log", env=settings | LOOPBACK, mounts={STATE: state}
    ) as worker:
        wait_until(lambda: "partitions assigned" in worker.said)
        assert worker.status("Uid").split() == ["10001"] * 4
        assert worker.status("CapEff") == "0" * 16 and worker.status("NoNewPrivs") == "1"
        health = [word.replace("8080", port_of(worker.said)) for word in ALIVE[1:]]
        output(image, health[1:], tmp_path / "health", program=(health[0],))
        produce(kafka.bootstrap, stage.topics["prospects"], iter(leads))
        wait_until(lambda: count(kafka.bootstrap, stage.outputs) == len(leads), every=0.5)
        code, took_s = worker.stop()
    assert code == 0, worker.said
    assert took_s < 60  # a pod's grace, in the manifests
    assert '"reader":"native"' in worker.said and '"event":"stopped"' in worker.said
    assert (state / "stream-scrub-snapshot.json").is_file()
    outputs = stage.topics["allowed"], stage.topics["blocked"]
    found = compare(
        kafka.bootstrap,
        stage.topics["prospects"],
        *outputs,
        expected_by({opposed}, set(free), true_number),
    )
    assert not found.wrong and found.total == len(leads)


def test_the_publisher_in_it_takes_files_as_docker_copies_them(image, kafka, state, tmp_path):
    """On a laptop the first list would stay where it was put, and every prospect wait for it."""
    stage = Stage(kafka.bootstrap, tmp_path, partitions=1)
    environment = {name: told for name, told in stage.env.items() if name.startswith("STREAM_SCRUB_")}
    environment |= {"STREAM_SCRUB_LISTS__REQUESTS_GROUP": f"publisher-{stage.topics['log']}"} | LOOPBACK
    of_compose = {
        name: told for name, told in SERVICES["publisher"]["environment"].items() if "BOOTSTRAP" not in name
    }
    opposed, free = french_mobiles(2, seed=62)
    for register, number in (("internal", opposed), ("consent", free)):
        folder = state / register / "adds"
        folder.mkdir(parents=True)
        for made in (folder.parent, folder):
            os.chown(made, 10001, 10001)
        listed = consents([f"+{number}"]) if register == "consent" else f"+{number}\n"
        (folder / ".list.csv").write_text(listed)  # root's, as `docker compose cp` leaves it
        (folder / ".list.csv").rename(folder / "list.csv")
    with Contained(
        image,
        SERVICES["publisher"]["command"],
        tmp_path / "log",
        env=environment | of_compose,
        mounts={STATE: state},
    ) as publisher:
        wait_until(lambda: publisher.said.count('"event":"file published"') == 2)
        code, took_s = publisher.stop()
    assert code == 0, publisher.said
    assert took_s < 60  # a pod's grace, in the manifests
    question = ["check", f"+{opposed}", f"+{free}", "--json"]
    told = output(image, question, tmp_path / "check", env=environment)
    assert [json.loads(line)["reason"] for line in told.splitlines()] == ["opposed", "consented"]
