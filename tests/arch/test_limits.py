"""docs/reference/limits.md has every limit, as it is in the code, with how one learns that it was hit."""

import ast
import importlib
import json
import re
from datetime import timedelta
from pathlib import Path

from stream_scrub.config import Settings
from stream_scrub.ops.metric_catalogue import CATALOGUE, LIMITS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scrub"
TEXT = (ROOT / "docs" / "reference" / "limits.md").read_text()
# Constants that are called so and that nobody can hit: what they are instead.
NO_LIMITS = {
    "kafka/admin/topics.py: _LIMIT": "the name of Kafka's own setting",
    "kafka/admin/topics.py: _LOG_LIMIT": "what the log's topic is made with, and held to by `topics --check`",
    "index/deltas.py: _LATER_MAX": "from there on a heap is made anew: memory for time",
    "index/end_table.py: _LATER_MAX": "from there on the arrays are made anew: memory for time",
    "imports/parsing/json_entries.py: _BLANKS_MAX": "what is looked at to recognise a list",
    "imports/formats/ranges.py: _DIGITS_MAX": "ITU-T E.164",
    "imports/formats/ranges.py: _NATIONAL_MAX": "ITU-T E.164, with what is dialled before",
    "log/follower.py: _ASIDE_MAX_S": "how long a follower steps aside for a worker",
    "log/wire.py: END_MAX": "the last second that a calendar has",
    "numbering/row_cache.py: DIGITS_MAX": "of the tables; longer ones are asked about",
    "numbering/row_cache.py: TURNED_AWAY_MAX": "when the tables are forgotten, beside their size",
    "numbering/library.py: CALLING_CODE_DIGITS_MAX": "ITU-T E.164",
    "numbering/two_numbers.py: _DIGITS_MAX": "ITU-T E.164, with what is dialled before",
    "numbering/arrays.py: DIGITS_MAX": "of the tables; longer ones are asked about",
    "numbering/arrays.py: _SIZE_MAX": "a power of ten",
    "numbering/tables.py: PREFIX_DIGITS_MAX": "of the tables",
    "demo/daemons.py: _BEAT_LIMIT_S": "the demo asks nobody whether its recall lives",
    "demo/main.py: _PROSPECTS_MAX": "what the demo's own flags may ask of it",
    "rules/rule.py: ATTEMPTS_MAX": "what a rule may say, far above every law",
    "ops/logs.py: _DEPTH_MAX": "of what we ourselves log",
    "ops/metric_catalogue.py: LIMITS": "names",
    "ops/metric_catalogue.py: LIMIT_HITS": "a metric",
    "ops/metric_catalogue.py: REGISTER_MAX_AGE": "a metric",
    "client/client.py: _PAUSE_MAX_S": "the longest pause of a client between two tries",
    "serve/serving.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "retry/daemon.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "recall/daemon.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "fanout/daemon.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "fanout/queue.py: _AGAIN_MAX_S": "the longest pause between two tries of an event",
    "fanout/queue.py: _PAUSE_MAX_S": "the longest pause between two tries of a target that is away",
    "registry/records.py: _ABSENT_MAX": "ids that are remembered: requests for memory",
    "registry/records.py: _PAUSE_MAX_S": "the longest pause between two requests to a registry that is away",
    "registry/client.py: _SECRET_MAX": "of our own secret",
    "recall/leads.py: _STAMPS_MAX": "stamps that are remembered: time for memory",
    "shadow/daemon.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "requests/daemon.py: BEAT_LIMIT_S": "when a loop is taken for dead: docs/operator.md, Health and metrics",
    "worker/start.py: _LIMIT_S": "the wait for one answer of a broker",
    "scrub/plans.py: _E164_DIGITS_MAX": "ITU-T E.164",
    "scrub/decide_batch.py: _TABLE_MAX": "from there on sorting is cheaper than a table",
    "scrub/decide_batch.py: _DIGITS_MAX": "of the tables; longer ones are read one by one",
    "scrub/backend.py: _REGIONS_MAX": "spellings that are remembered: time for memory",
    "scrub/backend.py: _REGION_TEXT_MAX": "spellings that are remembered: time for memory",
    "scrub/backend.py: _TEXT_MAX": "longer texts are read one by one",
    "files/workbook_process.py: _EMPTY_ROWS_MAX": "a sheet has no more rows",
    "requests/attempts.py: _RECORD_BYTES_MAX": "docs/dialler.md says it next to the members",
}


def tables() -> list[list[str]]:
    """The cells of every line of every table, without heads."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TEXT.splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| limit |", "| word |"))
    ]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


ROWS = [cells for cells in tables() if len(cells) == 6]
WORDS = {cells[0]: cells[1:] for cells in tables() if len(cells) == 4}


def in_code() -> set[str]:
    """Every constant of the package that is called a limit."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_bytes()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                if re.search(r"(^|_)MAX(_|$)|LIMIT", name):
                    found.add(f"{path.relative_to(PACKAGE).as_posix()}: {name}")
    return found


def in_settings() -> dict[str, object]:
    """Every setting that is a number, and its default."""
    return {
        f"{name}.{key}": default
        for name, field in Settings.model_fields.items()
        for key, inner in field.annotation.model_fields.items()
        if type(default := inner.get_default(call_default_factory=True)) in (int, float)
    }


def test_every_limit_has_its_row():
    """An operator would meet a limit that stands nowhere: add its row to docs/reference/limits.md."""
    listed = {place for cells in ROWS for place in ticked(cells[3])}
    assert in_code() - set(NO_LIMITS) - listed == set()
    assert set(NO_LIMITS) - in_code() == set(), "these are gone"
    assert set(NO_LIMITS) & listed == set()
    assert {name for cells in ROWS for name in ticked(cells[2])} == set(in_settings())


def test_every_row_is_as_the_code_is():
    """An operator would plan by a figure that is another."""
    assert len(ROWS) > 70
    for limit, default, setting, place, reason, hit in ROWS:
        (told,) = (json.loads(each) for each in ticked(default))
        if setting == "fixed":
            path, _, name = ticked(place)[0].partition(": ")
            held = getattr(
                importlib.import_module(f"stream_scrub.{path.removesuffix('.py').replace('/', '.')}"), name
            )
            held = held.days if isinstance(held, timedelta) else held
        else:
            held = in_settings()[ticked(setting)[0]]
        assert told == held, limit
        assert reason and re.match("|".join(WORDS), hit), f"{limit}: how does one learn of it?"


def test_every_way_of_telling_is_there():
    """A limit would be hit and nobody know of it: no line, no figure."""
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    known = {metric.name for metric in CATALOGUE}
    for word, (_, line, metric) in WORDS.items():
        assert set(ticked(metric)) <= known, word
        for event in ticked(line):
            assert f'"{event}' in sources or event in {
                "file published",
                "file refused",
                "blocked",
                "refused",
            }, event
    counted = [name for *_, hit in ROWS if hit.startswith("counted") for name in ticked(hit)]
    assert {*counted} == {*LIMITS}
