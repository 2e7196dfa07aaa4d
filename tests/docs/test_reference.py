"""What the pages list, held against the code: commands, options, settings, reasons, holds, rules, files and links."""

import ast
import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_scrub.config import Settings, load
from stream_scrub.imports.formats import FORMATS
from stream_scrub.kafka.client.allowed_properties import GROUPS
from stream_scrub.model import Reason
from stream_scrub.ops.health import DO
from stream_scrub.ops.metric_catalogue import CATALOGUE, Side
from stream_scrub.queries import rules_report
from stream_scrub.rules import Rulebook, survey
from stream_scrub.rules.check import _KEYS as COUNTRY_KEYS
from stream_scrub.rules.country import parent_of
from stream_scrub.rules.rule import _KEYS as RULE_KEYS
from tests.simulation.bugs import BUGS
from tests.support.golden import law
from tests.support.texts.commands import COMMANDS
from tests.support.texts.pages import ALL_PAGES, ROOT, anchors, blocks, rows, section, ticked

OPERATOR = ROOT / "docs" / "operator.md"
RULES = ROOT / "docs" / "rules.md"
REFERENCE = ROOT / "docs" / "reference"
DIALLER = ROOT / "docs" / "dialler.md"
DESIGN = ROOT / "DESIGN.md"
PACKAGE = ROOT / "stream_scrub"


def test_the_command_table_is_the_console():
    """A user would try a command that does not exist, or never learn of one that does."""
    table = (
        (ROOT / "docs" / "reference" / "commands.md")
        .read_text()
        .partition("| command |")[2]
        .partition("\n## ")[0]
    )
    listed = [name.partition(" ")[2] for cells in rows(f"| command |{table}") for name in ticked(cells[0])]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_for_its_command(command):
    """An option could only be found by reading the source."""
    told: set[str] = set()
    for options, of, _ in rows(section(REFERENCE / "commands.md", "Options")):
        excepted = re.match(r"all but (`.+`)", of)
        named = not excepted and f"`{command}`" in of.split(", ")
        if (excepted and f"`{command}`" not in excepted[1]) or of == "all" or named:
            told.update(word for name in ticked(options) for word in name.split() if word.startswith("-"))
    known = {flag for option in COMMANDS[command].params for flag in option.opts if flag.startswith("-")}
    assert known | {"-h", "--help"} == told


def test_the_configuration_table_is_the_settings():
    """An operator would set a key that is none, or rely on a default that is another."""
    listed = [
        (ticked(key)[0], json.loads(ticked(default)[0]))
        for key, default, _ in rows(section(REFERENCE / "settings.md", "All settings"))
    ]
    held = []
    for name, field in Settings.model_fields.items():
        for key, inner in field.annotation.model_fields.items():
            default = inner.get_default(call_default_factory=True)
            held.append((f"{name}.{key}", list(default) if isinstance(default, tuple) else default))
    assert listed == held


def tomls(page: Path, first: str) -> str:
    """The TOML example on the page with that first line."""
    (found,) = [block.text for block in blocks(page) if block.language == "toml" and block.first[1] == first]
    return found


def test_the_settings_file_on_the_page_is_accepted(tmp_path):
    """An operator who starts from the example would be refused."""
    example = tomls(REFERENCE / "settings.md", "[kafka]")
    (tmp_path / "stream-scrub.toml").write_text(example)
    settings = load(environ={}, cwd=tmp_path)
    assert settings.worker.processes == 2
    assert tomllib.loads(example)["kafka"]["client"] == settings.kafka.client


def test_the_list_of_client_properties_is_what_may_be_set():
    """An operator would look in vain for a property, or be refused one that the page names."""
    listed = [
        name
        for cells in rows(section(REFERENCE / "settings.md", "Client properties"))
        for name in ticked(cells[0])
    ]

    assert sorted(listed) == sorted(name for names in GROUPS.values() for name in names)


def test_the_rule_file_on_the_page_is_accepted(tmp_path):
    """A user who starts from the example would be refused, or warned of it."""
    (tmp_path / "im.toml").write_text(tomls(RULES, 'country = "IM"'))
    found = survey(tmp_path)
    (own,) = [country for country in found.countries if country.code in found.own]
    assert found.problems == () and own.code == "IM" and not found.replaced
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    told = rules_report.warnings([own], found.countries, now)
    assert len(told) == 1 and "1 point is not proven" in told[0]
    assert own.on(now.date()).named_consents == ("consent",)


def test_the_keys_of_a_rule_are_those_of_the_code():
    """A user would write a key that is none, or never learn of one."""
    listed = {key for keys, _ in rows(section(RULES, "Rules of your own")) for key in ticked(keys)}
    assert listed == {*COUNTRY_KEYS, *RULE_KEYS} - {"rule"}


def test_the_page_of_the_law_is_made_from_the_rules_and_the_table_of_the_law():
    """A compliance officer would read another law than the one that judges: `python -m tests.support.golden.law`."""
    assert law.PAGE.read_text(encoding="utf-8") == law.page()


def test_the_reasons_are_the_closed_set():
    """A dialler that switches on the reason would meet one that it does not know."""
    listed = {ticked(reason)[0]: verdict for reason, verdict, _ in rows(section(DIALLER, "Reasons"))}
    assert listed == {str(reason): str(reason.verdict) for reason in Reason}


def test_the_table_of_formats_is_what_is_read():
    """An operator would convert a list that could be imported as it is, or name a format or a column that is none."""
    listed = [
        (ticked(name)[0], set(ticked(columns)))
        for name, *_, columns in rows(section(REFERENCE / "list-formats.md", "List formats"))
    ]
    assert listed == [(each.name, set(each.columns)) for each in FORMATS]


def test_the_holds_are_those_of_the_code():
    """An operator who reads a cause in the log would not find what to do about it."""
    raised = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "StaleIndex":
                continue
            if isinstance(node.args[0], ast.Constant):  # otherwise it passes on the cause of another one
                raised.add(node.args[0].value)
    assert {ticked(cause)[0] for cause, _, _ in rows(section(OPERATOR, "Holds"))} == raised


FOLLOWERS = {Side.WORKER, Side.SERVER, Side.RETRY, Side.SHADOW, Side.RECALL}


def shown_sides(metric):
    """The daemons of a metric as the page shows them: `all`, or their names, the followers as one."""
    if {*Side} - {*metric.sides} <= {Side.DRILL}:
        return "all"
    if not FOLLOWERS <= {*metric.sides}:
        return ", ".join(metric.sides)
    return ", ".join([*(side for side in metric.sides if side not in FOLLOWERS), "followers"])


def shown_kind(name, cell):
    """The kind of a metric as the page shows it: by its name, or a histogram by its mark."""
    if "(histogram)" in cell:
        return "histogram"
    return "counter" if name.endswith("_total") else "gauge"


def test_the_table_of_metrics_is_the_catalogue():
    """An operator would write a query on a metric that is called otherwise, or read it wrongly."""
    listed = [
        (ticked(name)[0], shown_kind(ticked(name)[0], name), of, ticked(labels), means)
        for name, of, labels, means in rows(section(REFERENCE / "metrics.md", "Metrics"))
    ]
    assert listed == [
        (metric.name, str(metric.kind), shown_sides(metric), list(metric.labels), metric.help)
        for metric in CATALOGUE
    ]


def test_the_causes_on_the_page_are_those_of_the_probes():
    """An operator would read a cause on a page that no page explains."""
    text = section(OPERATOR, "Health and metrics").partition("Causes are those of")[2].partition("\n\n")[0]
    holds = {ticked(cause)[0] for cause, _, _ in rows(section(OPERATOR, "Holds"))}
    assert set(ticked(text)) | holds == set(DO)


def test_the_table_of_rules_is_what_is_shipped():
    """An operator would import the wrong list, or let one grow too old."""
    rulebook = Rulebook.load()
    shipped = {}
    for code, country in rulebook.countries.items():
        if parent_of(code):
            continue
        rule = country.on(datetime.now(UTC).date())
        ages = {name: str(days) for name, days in rule.max_age_days.items()}
        shipped[code] = (rule.registers, ages, rule.banned)
    listed = {}
    for codes, registers, age, banned in rows(section(RULES, "Registers of the shipped rules")):
        for code in codes.split(", "):
            listed[code] = (
                frozenset(ticked(registers)),
                dict(re.findall(r"`(\S+)` (\d+) days", age)),
                frozenset(ticked(banned)),
            )
    assert listed == shipped


def names(tree, above=""):
    """Every class, function, constant and attribute of a module, dotted."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield above + node.name
            yield from names(node, f"{above}{node.name}." if isinstance(node, ast.ClassDef) else above)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield above + (getattr(target, "id", None) or getattr(target, "attr", ""))
    if isinstance(tree, ast.FunctionDef) and tree.name == "__init__":
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield f"{above}{node.attr}"


def test_the_design_names_files_and_symbols_that_exist():
    """A reader would be sent to code that was renamed or is gone."""
    named = re.findall(r"`([\w/.]+\.py): ([\w.]+)`", DESIGN.read_text())
    assert len(named) > 30
    wrong = []
    for file, symbol in named:
        path = PACKAGE / file
        known = set(names(ast.parse(path.read_bytes()))) if path.is_file() else set()
        known |= {f"{name.split('.')[0]}.{name.split('.')[-1]}" for name in known}
        if symbol not in known:
            wrong.append(f"{file}: {symbol}")
    assert wrong == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_named_on_a_page_exist(page):
    """A reader would look for a file that is not there."""
    wrong = []
    for name in re.findall(r"`([\w./-]+/[\w.-]*|[\w-]+\.(?:md|toml|py))`", page.read_text()):
        folders = [ROOT, PACKAGE, ROOT / "tests", ROOT / "bench", page.parent]
        if page == DESIGN:
            folders += [folder for folder in PACKAGE.rglob("*") if folder.is_dir()]
        # One that begins with a slash is a place in a container; what tests leave behind is there after them.
        made = name in {"stream-scrub.toml", ".venv/bin/stream-scrub"} or name.startswith(("/", ".cache/"))
        if not made and not any((folder / name).exists() for folder in folders):
            wrong.append(name)
    assert wrong == []


def test_every_promise_has_tests_and_its_planted_bugs_exist():
    """A promise could break unseen, or rest on a bug that nobody plants any more."""
    promises = rows(section(ROOT / "tests" / "README.md", "Promises"))
    assert [promise for promise, *_ in promises] == [
        promise for promise, _ in rows(section(DESIGN, "Promises"))
    ]
    assert all(ticked(tests) for _, tests, _ in promises)
    planted = {bug for _, _, bugs in promises for bug in ticked(bugs)}
    assert planted <= set(BUGS) and len(planted) > 15


def test_every_room_is_in_the_file_map_and_every_module_says_what_it_is():
    """A newcomer would not know in which folder to look, or what a file in it is for."""
    mapped = [
        name.removeprefix("stream_scrub/").strip("/")
        for row in rows(section(DESIGN, "File map"))
        for name in ticked(row[0])
    ]
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))]
    assert sorted(mapped) == sorted(["", *rooms])
    modules = [
        path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
    ]  # the map says what a room is
    assert [path.name for path in modules if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    """A reader would click into nothing."""
    wrong = []
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, fragment = target.partition("#")
        path = page.parent / file if file else page
        if not path.exists() or (fragment and fragment not in anchors(path)):
            wrong.append(target)
    assert wrong == []


def test_pages_and_sections_that_the_product_names_exist():
    """Whoever reads an error would look for a page, or a section, that is not there."""
    named, wrong = 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        texts = [
            node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)
        ]
        for text in texts:
            for page, title in re.findall(r"(docs/[\w/-]+\.md)(?:, ([A-Z][\w ]+\w))?", str(text)):
                named += 1
                titles = anchors(ROOT / page) if (ROOT / page).is_file() else set()
                if not titles or (title and title.lower().replace(" ", "-") not in titles):
                    wrong.append(f"{path.name}: {page}, {title}")
    assert named > 5 and wrong == []


def test_pages_name_no_line_numbers():
    """A line number is wrong after the next change of its file."""
    assert [page.name for page in ALL_PAGES if re.search(r"\.(py|toml):\d+", page.read_text())] == []


def test_the_table_of_evidence_has_the_days_of_the_rules():
    """A compliance officer would delete by the page what the law asks to keep."""
    table = rows(section(ROOT / "docs" / "evidence.md", "What must be kept, and for how long"))
    said = {
        country: int(days[0]) for country, _, how_long, _ in table if (days := re.findall(r"\d+", how_long))
    }
    countries = Rulebook.load().countries
    names = {"DE": "Germany", "FR": "France", "US": "United States"}
    assert said == {names[code]: each.evidence_days for code, each in countries.items() if each.evidence_days}
