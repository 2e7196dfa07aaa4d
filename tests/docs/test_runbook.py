"""The runbook: its commands run, what it quotes is there, and every alert and every warning has its place in it."""

import ast
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
import yaml
from confluent_kafka import Producer

from stream_scrub.config import Settings
from stream_scrub.imports.formats.scrub_delta import DeltaEntry, DeltaHeader, write
from stream_scrub.model import RegisterKind
from stream_scrub.ops.metric_catalogue import CATALOGUE
from tests.docs.test_blocks import ALLOWED, OPPOSED, Story, send, story  # noqa: F401 - a fixture
from tests.docs.test_reference import COMMANDS
from tests.support.running.outcome import read_all
from tests.support.running.prospects import produce
from tests.support.running.worker import run, run_json
from tests.support.texts.monitoring import alerts
from tests.support.texts.pages import ROOT, blocks, rows, section, ticked

RUNBOOK = ROOT / "docs" / "runbook.md"
TEXT = RUNBOOK.read_text()
# Which test runs a block, by its first line.
RUN_BY = {
    r"kcat -C -b localhost:9092 -t prospects.blocked -o -1000 -e -q -f '%s\n'"
    r""" | grep -o '"reason":"[a-z-]*"' | sort | uniq -c""": "test_the_reasons_are_counted",
    'stream-scrub lists history "06 12 34 56 80"': "test_the_facts_about_a_call",
    "kcat -Q -b localhost:9092 -t prospects.allowed:0:-1 -X isolation.level=read_committed": (
        "test_an_open_transaction_shows"
    ),
    r"kcat -C -b localhost:9092 -t opposition.refused -o beginning -e -q -f '%h\n'"
    " | grep -o 'reason=[a-z-]*' | sort | uniq -c": "test_refused_requests_are_counted",
    "stream-scrub lists import wrong.txt --register internal --removes --dry-run": "test_wrong_numbers_are_taken_out",
    "stream-scrub lists verify --against filed.json": "test_a_restored_log_is_proven",
    "stream-scrub lists verify --json > wrong.json": "test_a_new_log_takes_over_from_a_corrupt_one",
    "stream-scrub lists export --salvage": "test_a_new_log_takes_over_from_a_corrupt_one",
    "export STREAM_SCRUB_TOPICS__LOG=opposition.log.2": "test_a_new_log_takes_over_from_a_corrupt_one",
    r"kcat -C -b localhost:9092 -t opposition.log -p 0 -o 17 -c 1 -e -q -f '%T\n'": (
        "test_a_new_log_takes_over_from_a_corrupt_one"
    ),
}


# Blocks that only have to say something, as patterns.
SAYS = {
    "stream-scrub lists status": ["internal", " countries, ", "worker.batch_ms"],
    "stream-scrub lists import todays-opt-outs.txt --register internal --adds --dry-run --json": [
        '"position": ?null',
        '"added": ?1,',
    ],
    "stream-scrub offsets --restore": ["partition"],
    "stream-scrub lists import partner.csv --register partner-fr --register-unknown": [
        r"partner-fr \(deny\)",
        "(?m)^partner-fr +deny +1 ",  # it stands in the table of `lists status`
    ],
    "stream-scrub rules check --folder my-rules": [
        r"\(your own\)",
        r"(?m)^published 1 of \d+ rules in use",
    ],
}


def block(world: Story, first: str) -> str:
    """The one block that begins so, for this broker and these topics."""
    (found,) = [each.text for each in blocks(RUNBOOK) if each.text.startswith(first)]
    return world.placed(found)


def test_every_block_is_run():
    """A command would rot unseen, and fail whoever is woken."""
    known = [each.text.splitlines()[0] for each in blocks(RUNBOOK) if each.language == "sh"]
    assert len(known) == len(set(known)) and set(known) == {*RUN_BY, *SAYS}
    assert all(name in globals() for name in RUN_BY.values())
    assert {each.language for each in blocks(RUNBOOK)} == {"sh", "console"}


@pytest.mark.parametrize("first", SAYS, ids=lambda first: first[:40])
def test_a_block_runs_and_says_what_the_page_says(story, first):  # noqa: F811
    """Whoever is woken would type a command that fails, or not see what the page says."""
    (story.folder / "partner.csv").write_text("+33612345690\n")
    said = story.shell(block(story, first))
    assert [pattern for pattern in SAYS[first] if not re.search(pattern, said)] == []


@pytest.mark.slow
def test_the_reasons_are_counted(story, kcat):  # noqa: F811
    """Why everything is blocked would have to be read lead by lead."""
    send(story, 500, [OPPOSED, OPPOSED, "12"])
    story.came_out("blocked", 502)
    said = story.shell(block(story, "kcat -C -b localhost:9092 -t prospects.blocked"))
    assert re.search(r'2 "reason":"opposed"', said) and re.search(r'1 "reason":"invalid-number"', said)


@pytest.mark.slow
def test_the_facts_about_a_call(story):  # noqa: F811
    """What is told a person who complains would be a guess."""
    send(story, 510, [ALLOWED])
    story.came_out("allowed", 510)
    (lead,) = [
        m for m in read_all(story.bootstrap, story.topics["allowed"]) if json.loads(m.value())["id"] == 510
    ]
    script = block(story, 'stream-scrub lists history "06 12 34 56 80"')
    place = f"--partition {lead.partition()} --offset {lead.offset()}"
    said = story.shell(script.replace("--partition 0 --offset 17", place))
    assert "now: in consent" in said and "allowed consented" in said and "\nsame\n" in said


def test_an_open_transaction_shows(story, kcat):  # noqa: F811
    """Silence behind an open transaction would look like a scrubber that does nothing."""
    script = block(story, "kcat -Q")

    def ends() -> list[int]:
        return [int(offset) for offset in re.findall(r"offset (\d+)", story.shell(script))]

    committed, written = ends()
    assert committed == written
    producer = Producer({"bootstrap.servers": story.bootstrap, "transactional.id": "hanging"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(story.topics["allowed"], b"{}", partition=0)
    assert producer.flush(20) == 0
    assert ends() == [committed, committed + 1]
    producer.abort_transaction(20)


def test_refused_requests_are_counted(story, kcat):  # noqa: F811
    """People whose opt-out was not understood would stay a number on a dashboard."""
    producer = Producer({"bootstrap.servers": story.bootstrap})
    for reason in ("no-number", "no-number", "unreadable"):
        producer.produce(story.topics["refused"], b"x", headers=[("reason", reason), ("from", "0/1")])
    assert producer.flush(20) == 0
    said = story.shell(block(story, "kcat -C -b localhost:9092 -t opposition.refused"))
    assert said.split() == ["2", "reason=no-number", "1", "reason=unreadable"]


@pytest.mark.slow
def test_wrong_numbers_are_taken_out(story):  # noqa: F811
    """A wrong list would block its leads for ever, or a dry run take people out."""
    (story.folder / "wrong.txt").write_text("+33612345679\n")
    assert "now: in internal" in run(["lists", "history", "+33612345679"], story.env).stdout
    said = story.shell(block(story, "stream-scrub lists import wrong.txt"))
    assert "dry run: nothing was published" in said and said.count("removed     1") == 2
    assert "not in internal" in run(["lists", "history", "+33612345679"], story.env).stdout


@pytest.mark.slow
def test_a_restored_log_is_proven(story):  # noqa: F811
    """A log whose end was lost would be taken for the whole."""
    (story.folder / "filed.json").write_text(run(["lists", "verify", "--json"], story.env).stdout)
    script = block(story, "stream-scrub lists verify --against filed.json")
    assert "\nsound: " in story.shell(script)
    filed = json.loads((story.folder / "filed.json").read_text())
    for register in filed["registers"]:
        register["seq"] += 1
    (story.folder / "filed.json").write_text(json.dumps(filed))
    assert "the log does not reach it" in story.shell(script, exits=3)


@pytest.mark.slow
def test_a_new_log_takes_over_from_a_corrupt_one(kafka, kcat, tmp_path):
    """After a corrupt log opt-outs that came by requests, and the ends of consents, would be lost."""
    world = Story(kafka.bootstrap, tmp_path)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    until = today + timedelta(days=200)
    about = DeltaHeader(kind=RegisterKind.ALLOW, change="full", register="consent")
    entries = [DeltaEntry(1, "A", "+33612345681", expires_at=until), DeltaEntry(1, "A", "+4915112345682")]
    with (tmp_path / "given.jsonl").open("wb") as file:
        write(file, about, entries)
    world.shell(
        "stream-scrub topics --partitions 1\n"
        "stream-scrub lists import opt-outs.csv -r internal\n"
        "stream-scrub lists import todays-opt-outs.txt -r internal@acme\n"
        "stream-scrub lists import given.jsonl -r consent"
    )
    last = run_json(["lists", "status"], world.env)["position"]
    produce(kafka.bootstrap, world.topics["log"], iter([(b"internal", b"rubbish")]))

    world.shell(block(world, "stream-scrub lists verify --json > wrong"), exits=3)
    assert json.loads((tmp_path / "wrong.json").read_text())["problems"][0]["offset"] == last + 2
    said = world.shell(block(world, "stream-scrub lists export"))
    assert "exported up to the first fault" in said and "internal@acme.jsonl" in said

    moved = block(world, "export STREAM").replace("opposition.log.2", f"{world.topics['log']}.2")
    assert "\nsound: " in world.shell(moved)
    new = world.env | {"STREAM_SCRUB_TOPICS__LOG": f"{world.topics['log']}.2"}
    counts = {each["register"]: each["count"] for each in run_json(["lists", "status"], new)["registers"]}
    assert counts == {"internal": 2, "consent": 2}
    assert f"until {until:%Y-%m-%d}" in run(["lists", "history", "+33612345681"], new).stdout
    ask = block(world, "kcat -C -b localhost:9092 -t opposition.log -p 0").replace("-o 17", f"-o {last}")
    assert abs(int(world.shell(ask)) / 1000 - datetime.now(UTC).timestamp()) < 300


# -- What it says is so.


@cache
def said() -> tuple[str, list[re.Pattern[str]]]:
    """Every text in the code, one a line; and those with variable parts."""
    texts, patterns = [], []
    for path in sorted((ROOT / "stream_scrub").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.JoinedStr):
                patterns.append(re.compile(_filled(node, "[^ ]+")))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts), patterns


def _filled(node: ast.expr, variable: str) -> str:
    """A text as a pattern, with `variable` for what is filled in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else variable for part in parts)


def is_said(text: str) -> bool:
    """Whether the code holds it, or may say just that."""
    texts, patterns = said()
    return text in texts or any(pattern.fullmatch(text) for pattern in patterns)


def spans() -> list[str]:
    """What stands between backticks, blocks apart."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE))


def test_what_it_quotes_is_said():
    """Whoever is woken would search the logs for a line that nobody writes."""
    quoted = [
        s
        for s in spans()
        if " " in s and not s.startswith(("stream-scrub ", "kubectl ", "--", "rules check", "lists "))
    ]
    assert len(quoted) > 30
    assert [text for text in quoted if not is_said(text)] == []


def test_commands_it_names_are_there():
    """Whoever is woken would type a command or an option that is none."""
    named = [
        s.split()
        for s in spans()
        if re.match(r"(stream-scrub )?(lists|rules|topics|config|check|explain)( |$)", s)
    ]
    assert named
    for words in named:
        words = [word for word in words if word != "stream-scrub"]  # noqa: PLW2901
        path = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert path in COMMANDS, words
        known = {flag for option in COMMANDS[path].params for flag in option.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == [], words


def test_settings_and_metrics_it_names_are_there():
    """Whoever is woken would look at a figure or a setting that is none."""
    keys = {
        f"{name}.{key}"
        for name, field in Settings.model_fields.items()
        for key in field.annotation.model_fields
    }
    metrics = {metric.name for metric in CATALOGUE}
    sections = "|".join(Settings.model_fields)
    assert [s for s in spans() if re.fullmatch(rf"({sections})\.[a-z_]+", s) and s not in keys] == []
    assert [s for s in spans() if s.startswith("stream_scrub_") and s not in metrics] == []


def logged() -> dict[str, set[str]]:
    """What workers and publishers log, by level, as patterns."""
    found: dict[str, set[str]] = {"info": set(), "warning": set(), "error": set()}
    for path in sorted((ROOT / "stream_scrub").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if (
                isinstance(node, ast.Yield)
                and isinstance(node.value, ast.Tuple)
                and path.name == "scrubbing.py"
            ):
                found["warning"].add(_filled(node.value.elts[0], "[a-z]+"))  # an event and its reason
            if not (isinstance(node, ast.Call) and node.args):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {*found, "_log_once"} and not isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                continue  # the event is chosen elsewhere
            if name == "_log_once":
                found["warning"].add(_filled(node.args[0], "[a-z]+"))
            elif name == "level":  # chosen a line before
                found["info"].add(_filled(node.args[0], "[a-z]+"))
                found["warning"].add(_filled(node.args[0], "[a-z]+"))
            elif (
                name == "RecurringProblem"
            ):  # a line when it begins and while it lasts, and one when it is over
                found["warning"].add(_filled(node.args[1], "[a-z]+"))
                found["info"].add(_filled(node.args[2], "[a-z]+"))
            elif isinstance(node.args[0], ast.Attribute):
                continue  # a RecurringProblem's own
            elif name in found and ast.unparse(node.func).split(".")[-2] in {"log", "_log"}:
                found[name].add(_filled(node.args[0], "[a-z]+"))
    return found


def test_every_warning_has_its_row():
    """A line in the log would mean nothing to the one who was woken by it."""
    levels = logged()
    warnings, infos = levels["warning"] | levels["error"], levels["info"]
    text = section(RUNBOOK, "Log lines")
    listed = [ticked(line)[0] for line, _, _ in rows(text)]
    assert len(listed) == len(set(listed)) > 20

    def fits(row: str, line: str) -> bool:  # a row may be a long line's beginning
        return re.fullmatch(line, row) is not None or line.startswith(re.escape(row))

    assert [row for row in listed if not any(fits(row, line) for line in warnings)] == []
    assert [line for line in warnings if not any(fits(row, line) for row in listed)] == []
    normal = ticked(text.partition("Normal, at level info:")[2])
    assert [row for row in normal if not any(fits(row, line) for line in infos)] == []


def test_every_alert_has_its_section():
    """Whoever is woken would find nothing under the alert's name."""
    titles = re.findall(r"^### (.+)$", section(RUNBOOK, "Alerts"), re.MULTILINE)
    assert titles == list(alerts())
    assert all(len(section(RUNBOOK, title).strip()) > 20 for title in titles)


def test_cluster_commands_name_what_is_there():
    """Whoever is woken would be told that there is no such pod."""
    named = set()
    for file in (ROOT / "k8s" / "base").glob("*.yaml"):
        for each in yaml.safe_load_all(file.read_text()):
            if each and "metadata" in each:
                named.add(f"{each['kind'].lower()}/{each['metadata']['name']}")
    scripts = [each.text for each in blocks(RUNBOOK) if each.language == "console"]
    assert scripts
    for script in scripts:
        assert subprocess.run(["bash", "-n", "-c", script], capture_output=True).returncode == 0
        for line in script.splitlines():
            assert line.startswith("kubectl -n stream-scrub "), line
            for what in re.findall(r"\b(?:deployment|statefulset)/[\w-]+", line):
                assert what in named, line
            for pod in re.findall(r"\b(stream-scrub-[a-z]+)-\d+\b", line):
                assert f"statefulset/{pod}" in named, line
