"""Every command and every program on the users' pages, run as it stands there, on a real Kafka.

Only the broker's address and the names of topics and groups are replaced, so that runs do not meet each other.
"""

import hmac
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_scrub import Checker, ListFile
from tests.support.fakes.lists import consents
from tests.support.names import unique_name
from tests.support.running.outcome import read_all
from tests.support.running.prospects import day_in_france, produce, prospect
from tests.support.running.worker import SCRIPT, environment, run, run_json
from tests.support.texts.pages import ROOT, USER_PAGES, Block, blocks
from tests.support.waiting import wait_until

# Which test runs a block, by the block's page and first line. A test runs all of its blocks, in the page's order.
RUN_BY = {
    ("docs/operator.md", "export STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS=localhost:9092"): "story",
    (
        "docs/operator.md",
        "stream-scrub lists import todays-opt-outs.txt --register internal --adds --dry-run",
    ): ("test_an_operator_imports_a_delta"),
    ("docs/rules.md", "mkdir -p us-rules"): "test_an_operator_blocks_litigators",
    ("docs/evidence.md", 'stream-scrub lists history "06 12 34 56 80"'): "test_an_officer_shows_the_proof",
    (
        "docs/evidence.md",
        "stream-scrub dossier +33612345680 --from 2026-11-24 --to 2026-11-26 --out dossier.html",
    ): "test_an_officer_shows_the_proof",
    ("docs/evidence.md", "stream-scrub explain prospect.json"): "test_an_officer_shows_the_proof",
    ("docs/evidence.md", "stream-scrub report --month 2026-10"): "test_an_officer_shows_the_proof",
    ("docs/evidence.md", "stream-scrub lists verify --json > verify.json"): "test_an_officer_shows_the_proof",
    ("docs/privacy.md", "mkdir -p hash-keys"): "test_an_operator_imports_hashes",
    (
        "docs/operator.md",
        "stream-scrub lists import acme.csv --register hashed@acme --hashed hmac-sha256 --known +33612345678"
        " --set lists.hash_keys=hash-keys",
    ): "test_an_operator_imports_hashes",
    ("docs/operator.md", "mkdir -p lists-in/internal/adds"): "test_an_operator_runs_the_publisher",
    ("docs/requests.md", "import json"): "test_an_operator_runs_the_publisher",
    ("docs/producer.md", "from stream_scrub.producer import Leads"): "test_a_producer_publishes_from_python",
    (
        "docs/producer.md",
        """echo '43|{"id": 43, "phone": "+33 6 12 34 56 78", "country": "FR"}' """
        "| kcat -P -b localhost:9092 -t prospects -K '|'",
    ): "test_a_producer_publishes_with_kcat",
}
# Blocks that only have to say something: a daemon's word until which it is run, and what is said.
SAYS = {
    ("docs/operator.md", "stream-scrub lists status"): (
        "",
        [
            "consents.csv",
            "opt-outs.csv",
            "+33612345678  blocked opposed",
            "+33612345680  allowed consented",
            '"verdict":"allowed","reason":"exempt","number":"+33612345680"',
            "worker.batch_ms",
        ],
    ),
    ("docs/operator.md", "stream-scrub topics --check"): ("", []),
    (
        "docs/operator.md",
        "timeout --preserve-status 20 stream-scrub worker --shadow --set rules.folder=my-rules",
    ): ('"event":"shadowing"', ["verdicts would change"]),
    ("docs/operator.md", "timeout --preserve-status 20 stream-scrub recall"): ('"event":"recalling"', []),
    ("docs/fanout.md", "cat > fanout.toml <<'END'"): ('"event":"fan-out started"', []),
    # Which leads end by now depends on what the other tests have handed out.
    ("docs/operator.md", "stream-scrub expiring --days 7"): ("", []),
    ("docs/operator.md", "stream-scrub retry --dry-run --since 2026-01-01"): ("", ["is still unusable"]),
    ("docs/rules.md", "stream-scrub rules show FR"): (
        "",
        [
            "own campaign is blocked",
            "A number that bloctel-clean does not hold as clean is blocked as not-washed",
            "tps was never imported, and the rules of GB need it",
            " countries, ",
        ],
    ),
    ("docs/rules.md", "stream-scrub rules check --folder my-rules --no-log"): (
        "",
        ["(your own)", "our counsel"],
    ),
    ("docs/sizing.md", "python -m bench.offline.capacity_plan --per-s 1000000 --numbers 250000000"): (
        "",
        ["partitions", '"workers"'],
    ),
}
COPIED = "its lines are on other pages, whose tests run them"
NOT_RUN = {
    ("docs/operator.md", "docker compose up --build --detach"): (
        "needs an engine and a registry of images; tests/packaging holds what the file says, and drops such lists"
    ),
    (
        "docs/image.md",
        'make image IMAGE_ARGS="--build-arg BASE=python:3.13-slim@sha256:<digest>"',
    ): "needs a registry of images; tests/packaging build with both targets",
    (
        "docs/image.md",
        "make pin",
    ): "needs a registry of images; tests/packaging pin with a skopeo of their own",
    (
        "docs/image.md",
        "make sbom",
    ): "needs databases of what is known; tests/packaging makes the bill of materials",
    ("README.md", "make demo"): "`make test` would run itself; that both targets exist is tested below",
    (
        "README.md",
        "stream-scrub file leads.csv -o scrubbed --list internal=opt-outs.txt --list consent@acme=consents.csv"
        " --campaign acme --purpose insurance",
    ): COPIED,
    ("README.md", "stream-scrub topics"): COPIED,
    ("README.md", "stream-scrub serve --trial"): COPIED,
}
# Pages whose blocks another module runs.
ELSEWHERE = {
    "docs/files.md": "tests/docs/test_files_page.py",
    "docs/check-api.md": "tests/unit/serve/test_examples.py",
    "docs/connect.md": "tests/docs/test_connect_page.py",
    "docs/dialler.md": "tests/docs/test_dialler_page.py",
    "docs/install.md": "tests/packaging/test_install.py",
    "docs/kubernetes.md": "tests/k8s/test_page.py",
    "docs/python.md": "tests/docs/test_python.py",
    "docs/runbook.md": "tests/docs/test_runbook.py",
    "docs/tables.md": "tests/docs/test_tables_page.py",
    "docs/vm.md": "tests/docs/test_vm_page.py",
}
LIMITED = "timeout --preserve-status 20"
UNTIL_SAID = """
until_said() {
    word=$1 code=0; shift
    "$@" > said 2>&1 &
    until grep -q -- "$word" said; do kill -0 $!; sleep 0.1; done
    kill $!; wait $! || code=$?
    cat said; return $code
}
"""
ALLOWED, OPPOSED = "06 12 34 56 80", "+33 6 12 34 56 78"
ASKED_ABOUT = "+33612345683"  # allowed, and in no prospect of another test


def all_blocks() -> list[Block]:
    found = [block for page in USER_PAGES for block in blocks(page) if block.language in ("python", "sh")]
    return [block for block in found if block.page not in ELSEWHERE]


class Story:
    """The pages' world: topics and a group of their own, a folder with the lists, the operator's worker."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        unique = unique_name()
        self.bootstrap = bootstrap
        self.folder = folder
        roles = ("allowed", "blocked", "recalled")
        self.topics = {"prospects": f"prospects-{unique}", "log": f"opposition.log-{unique}"}
        self.topics |= {role: f"prospects.{role}-{unique}" for role in roles} | {
            role: f"opposition.{role}-{unique}" for role in ("requests", "lifts", "refused")
        }
        self.topics |= {role: f"fanout.{role}-{unique}" for role in ("receipts", "dead")}
        self.group = f"stream-scrub-{unique}"
        self.env = environment(bootstrap, self.topics, worker__group_id=self.group)
        self.env["PATH"] = f"{Path(SCRIPT).parent}:{self.env['PATH']}"
        (folder / "opt-outs.csv").write_text("name;phone\nA;06 12 34 56 78\nB;+33 6 12 34 56 79\n")
        (folder / "consents.csv").write_text(consents(["+33612345678", "+33612345680", ASKED_ABOUT]))
        (folder / "todays-opt-outs.txt").write_text("0612345681\n")
        (example,) = [
            block.text for block in blocks(ROOT / "docs" / "rules.md") if block.first[1] == 'country = "IM"'
        ]
        (folder / "my-rules").mkdir()
        (folder / "my-rules" / "im.toml").write_text(example)
        self.log_file = folder / "worker.log"

    def placed(self, text: str) -> str:
        """A block for this broker and these topics."""
        own = {re.sub(r"-\w{8}$", "", name): name for name in self.topics.values()}
        text = text.replace("localhost:9092", self.bootstrap)
        text = re.sub(r'(?<=group = )"stream-scrub"', f'"{self.group}"', text)
        names = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
        return re.sub(rf"(?<![\w.-])(?:{names})(?![\w.-])", lambda found: own[found[0]], text)

    def blocks(self, test: str) -> list[str]:
        """The blocks that a test runs, placed."""
        return [self.placed(block.text) for block in all_blocks() if RUN_BY.get(block.first) == test]

    def shell(self, script: str, *, exits: int = 0, until: str = "") -> str:
        """A block to its end, line after line, stopping at the first that fails; what it printed. A daemon that the page
        runs for twenty seconds is run `until` it says this."""
        if until:
            assert LIMITED in script
            script = UNTIL_SAID + script.replace(LIMITED, f"until_said '{until}'")
        command = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == exits, done.stdout + done.stderr
        return done.stdout

    def came_out(self, verdict: str, lead: int) -> dict:
        """The stamp of a prospect, waited for."""
        found: list[dict] = []

        def there() -> bool:
            values = [
                json.loads(message.value()) for message in read_all(self.bootstrap, self.topics[verdict])
            ]
            found[:] = [value["scrub"] for value in values if value["id"] == lead]
            return bool(found)

        wait_until(there, every=0.3)
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def story(kafka, tmp_path_factory) -> Iterator[Story]:
    """The operator's five commands, run verbatim; the worker stays while the other pages are tried."""
    made = Story(kafka.bootstrap, tmp_path_factory.mktemp("story"))
    (script,) = made.blocks("story")
    with made.log_file.open("wb") as log:
        shell = subprocess.Popen(
            ["bash", "-euc", script],
            cwd=made.folder,
            env=made.env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "partitions assigned" in made.log_file.read_text() or shell.poll() is not None)
        assert shell.poll() is None, made.log_file.read_text()
        yield made
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait()
    wait_until(lambda: '"event":"stopped"' in made.log_file.read_text())


def test_every_block_is_run_or_says_why_not():
    """An example would rot unseen, and the first thing that a new user tries would fail."""
    known = [block.first for block in all_blocks()]
    assert len(known) == len(set(known)), "two blocks with one first line cannot be told apart"
    assert set(known) == set(RUN_BY) | set(SAYS) | set(NOT_RUN)
    assert all(name in globals() for name in RUN_BY.values())
    assert all((ROOT / module).is_file() for module in ELSEWHERE.values())


def test_a_page_that_starts_with_a_command_says_how_to_install_it():
    """Whoever knows no Python would stop at the first line: command not found."""
    starting = [
        page
        for page in (ROOT / "docs").glob("*.md")
        for block in [block for block in blocks(page) if block.language == "sh"][:1]
        if re.search(r"(?m)^stream-scrub ", block.text)
    ]
    assert len(starting) >= 5
    assert [
        page.name for page in starting if "](install.md)" not in page.read_text().partition("```")[0]
    ] == []


def test_the_two_commands_are_make_targets():
    """The README's first two commands would not exist."""
    for target in ("demo", "test"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr


def test_what_the_readme_copies_is_run_elsewhere():
    """The README's commands would rot, because no test runs them there."""
    elsewhere = "\n".join(
        block.text for page in USER_PAGES for block in blocks(page) if block.page != "README.md"
    ).splitlines()
    copied = [first for first, why in NOT_RUN.items() if why == COPIED]
    lines = [line for block in all_blocks() if block.first in copied for line in block.text.splitlines()]
    assert len(lines) > 5
    assert [line for line in lines if line not in elsewhere] == []


@pytest.mark.parametrize("block", SAYS, ids=lambda block: block[1][:40])
def test_a_block_runs_and_says_what_the_page_says(story, block):
    """An operator would copy a command that fails, or that says another thing than the page."""
    (script,) = [each.text for each in all_blocks() if each.first == block]
    until, words = SAYS[block]
    if script.startswith("python -m bench."):
        script = f"cd {ROOT}\n{script}"

    said = story.shell(story.placed(script), until=until)

    assert said.strip() and until in said and [word for word in words if word not in said] == []
    assert "missing" not in said and "whsec_" not in said and "bloctel was never imported" not in said


def test_an_operator_blocks_litigators(tmp_path, monkeypatch):
    """People who sue callers would be called, though their list was bought."""
    (script,) = [block.text for block in all_blocks() if block.first[1] == "mkdir -p us-rules"]
    monkeypatch.setenv("PATH", f"{Path(SCRIPT).parent}:{os.environ['PATH']}")
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "litigators-2026-11-24.csv").write_text("+14045550123\n")
    (tmp_path / "us-dnc-2026-11-24.txt").write_text("+14045550999\n")
    checker = Checker.from_lists(
        {
            "litigators": ListFile(tmp_path / "litigators-2026-11-24.csv", region="US"),
            "us-dnc": ListFile(tmp_path / "us-dnc-2026-11-24.txt", region="US", areas=("404",)),
        },
        settings={"prospect.default_purpose": "insurance", "rules.folder": str(tmp_path / "us-rules")},
    )
    on = datetime(2026, 11, 24, 12, tzinfo=UTC)
    stamps = [checker.check(number, on=on) for number in ("+14045550123", "+14045550124")]
    assert [(stamp.reason, [*stamp.registers]) for stamp in stamps] == [
        ("opposed", ["litigators"]),
        ("clear", []),
    ]


def test_a_producer_publishes_from_python(story, monkeypatch):
    """A lead producer who copies the program would publish what the scrubber cannot read."""
    monkeypatch.setenv("STREAM_SCRUB_TOPICS__PROSPECTS", story.topics["prospects"])
    (program,) = story.blocks("test_a_producer_publishes_from_python")
    exec(compile(program, "docs/producer.md", "exec"), {})
    assert story.came_out("allowed", 42)["reason"] == "consented"


def test_a_producer_publishes_with_kcat(story, kcat):
    """A lead producer who copies the command would publish what the scrubber cannot read, or without its key."""
    (command,) = story.blocks("test_a_producer_publishes_with_kcat")
    story.shell(command)
    assert story.came_out("blocked", 43)["registers"] == ["internal"]
    assert b"43" in [message.key() for message in read_all(story.bootstrap, story.topics["blocked"])]


def send(story: Story, first: int, phones: list[object]) -> None:
    leads = ((b"k", prospect(first + at, phone)) for at, phone in enumerate(phones))
    produce(story.bootstrap, story.topics["prospects"], leads)


def test_an_operator_imports_a_delta(story):
    """The daily import would replace the register, or the dry run would publish."""
    (script,) = story.blocks("test_an_operator_imports_a_delta")
    before = run_json(["lists", "status"], story.env)
    said = story.shell(script)
    after = run_json(["lists", "status"], story.env)
    counts = [{r["register"]: r["count"] for r in status["registers"]} for status in (before, after)]
    assert counts == [{"consent": 3, "internal": 2}, {"consent": 3, "internal": 3}]
    assert "dry run: nothing was published" in said
    seqs = {r["register"]: r["seq"] for r in after["registers"]}
    assert seqs["internal"] == 2, "the dry run must publish nothing"


@pytest.mark.slow
def test_an_officer_shows_the_proof(story):
    """The file for an authority would be empty, or the proof fail on a log that is sound."""
    made, asked, explained, counted, verified = story.blocks("test_an_officer_shows_the_proof")
    send(story, 300, [ASKED_ABOUT])
    story.came_out("allowed", 300)
    (message,) = [
        each
        for each in read_all(story.bootstrap, story.topics["allowed"])
        if json.loads(each.value())["id"] == 300
    ]
    (story.folder / "prospect.json").write_bytes(message.value())
    place = f"--partition {message.partition()} --offset {message.offset()}"

    said = story.shell(asked)
    assert "consent (allow): added" in said and "now: in consent" in said
    assert json.loads((story.folder / "history.json").read_text())["events"][0]["change"] == "added"
    assert "--partition 0 --offset 17" in explained
    said = story.shell(explained.replace("--partition 0 --offset 17", place))
    answer, same, _ = said.partition("\nsame\n")
    assert (
        answer.startswith("+") and "May be called until" in answer and "In consent since" in answer and same
    )
    day = day_in_france(json.loads(message.value())["scrub"])
    made = made.replace("2026-11-24", day).replace("2026-11-26", day).replace("+33612345680", ASKED_ABOUT)
    said = story.shell(made)
    assert "was lawful." in said or "the law allows no call" in said  # as on a Sunday, or late in the evening
    assert "allowed (consented)" in (story.folder / "dossier.html").read_text()
    assert "consented" in story.shell(counted.replace("2026-10", day[:7]))
    assert json.loads((story.folder / "month.json").read_text())["month"] == day[:7]
    assert json.loads((story.folder / "explain.json").read_text())["same"] is True
    assert "\nsound: " in story.shell(verified)


def test_an_operator_runs_the_publisher(story):
    """The drop folder would take nothing, or an opt-out by the page's program reach nobody."""
    script, program = story.blocks("test_an_operator_runs_the_publisher")
    if "Producer" in script:
        script, program = program, script
    shell = subprocess.Popen(
        ["bash", "-euc", f"{script}\nwait"], cwd=story.folder, env=story.env, start_new_session=True
    )
    try:
        report = story.folder / "lists-in" / "internal" / "done" / "today.txt.report.json"
        wait_until(lambda: report.is_file() or shell.poll() is not None)
        assert json.loads(report.read_text())["outcome"] == "published"
        exec(compile(program, "docs/requests.md", "exec"), {})
        history = ["lists", "history", "+33612345682"]
        wait_until(lambda: "now: in internal" in run(history, story.env).stdout, every=0.5)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()


# The last one: the worker lacks the key, and holds for everybody who names no campaign.
@pytest.mark.slow
def test_an_operator_imports_hashes(story):
    """A buyer's hashes would be made by another key than the one that the page says to make."""
    imports, makes_key = sorted(
        story.blocks("test_an_operator_imports_hashes"), key=lambda text: "mkdir" in text
    )
    story.shell(makes_key)
    key = (story.folder / "hash-keys" / "acme").read_bytes().rstrip(b"\n")
    listed = hmac.digest(key, b"0033612345678", "sha256").hex()
    (story.folder / "acme.csv").write_text(f"hash,added\n{listed},2026-11-24\n")

    assert "hmac-sha256 of 00CCXXX, key " in story.shell(imports)
