"""The house rules that a reader relies on and no linter knows: who imports whom, what is where, how long it may be."""

import ast
import importlib
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scrub"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in SOURCES}

# A room imports rooms of a lower rank only. The package's own __init__ stands above all: it names what is public;
# its __version__ is a word that anyone may say.
RANKS = {
    "__version__": 0,
    "clock": 0,
    "redaction": 0,
    "atomic_file": 0,
    "strict_json": 0,
    "spelling": 0,
    "timestamps": 0,
    "toml_lines": 0,
    "terminal": 0,
    "model": 1,
    "byname": 1,
    "errors": 1,
    "client": 2,
    "config": 2,
    "index": 2,
    "numbering": 2,
    "rules": 2,
    "kafka": 3,
    "lists": 3,
    "scrub": 3,
    "observability": 4,
    "wiring": 5,
    "worker": 6,
    "publisher": 6,
    "queries": 6,
    "files": 6,
    "retry": 6,
    "shadow": 6,
    "server": 6,
    "demo": 7,
    "api": 8,
    "cli": 8,
    "__init__": 9,
    "__main__": 9,
}
LIBRARIES = {
    "confluent_kafka": {"kafka"},
    "pyroaring": {"index", "lists"},
    "phonenumbers": {"numbering"},
    "interegular": {"numbering"},
    "httpx": {"client"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "jinja2": {"files", "server"},
    "uvloop": {"server"},
    "python_multipart": {"server"},
    "httptools": {"server"},
    "prometheus_client": {"observability", "server"},
}
FILE_LINES = 400
FUNCTION_LINES = 60
FOLDER_MODULES = 14
# (file, function): why whatever goes wrong there must not go further.
CATCH_ALL: dict[tuple[str, str], str] = {
    (
        "stream_scrub/files/workbook.py",
        "no_panic",
    ): "a library's panic is no Exception and has no name to catch it by; all else is raised again",
    (
        "stream_scrub/observability/crash_report.py",
        "coded",
    ): "a fault is told in one line without what it quotes, and ends with exit code 1",
    (
        "stream_scrub/publisher/delta_publisher.py",
        "_run",
    ): "whatever opening a writer raises in its thread, the publisher's thread raises",
    (
        "stream_scrub/server/together.py",
        "_work",
    ): "whatever judging raises, each who waits for that verdict raises",
    (
        "stream_scrub/server/watch/others.py",
        "ask",
    ): "whatever the page of one process does to its reader, it is told as unheard and all others are asked",
    (
        "stream_scrub/server/beside.py",
        "run",
    ): "whatever the work raises in its thread, whoever waits for it raises",
    (
        "stream_scrub/server/edge.py",
        "__call__",
    ): "a fault in one answer is told in one line without what it quotes, and all other requests are answered",
    (
        "stream_scrub/publisher/drop_importer.py",
        "read",
    ): "a file that makes us stumble is refused and told of, and requests go on",
    (
        "stream_scrub/publisher/drop_importer.py",
        "_publish",
    ): "the same, where a list is compared and published",
    (
        "stream_scrub/publisher/reader_process.py",
        "work",
    ): "the same, in the process that reads it: the place is told, and no text of the list",
    (
        "stream_scrub/kafka/client/bounded_call.py",
        "_serve",
    ): "whatever a call raises in the other thread, its caller raises",
    (
        "stream_scrub/kafka/client/client_log.py",
        "error_cb",
    ): "an exception in a client's callback destroys a fetched batch",
    (
        "stream_scrub/kafka/client/client_log.py",
        "emit",
    ): "an exception in a client's callback destroys a fetched batch",
    (
        "stream_scrub/kafka/client/client_log.py",
        "_on_statistics",
    ): "an exception in a client's callback destroys a batch",
}


def room(path: str) -> str:
    return Path(path).relative_to("stream_scrub").parts[0].removesuffix(".py")


def imports(path: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module imported, in full, wherever in the file, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = list(Path(path).parent.parts)
            base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
            module = base if node.level else node.module or ""
            for alias in node.names:
                yield (f"{module}.{alias.name}" if module == "stream_scrub" else module), node.lineno


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def kept_files() -> list[Path]:
    """The files that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, "these tests run in a git checkout"
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_rooms_import_downwards_only():
    """Whoever changes one room would have to know all of them."""
    wrong = []
    for path, tree in TREES.items():
        here = room(path)
        for module, line in imports(path, tree):
            package, _, inner = module.partition(".")
            there = inner.partition(".")[0] if inner else "__init__"
            if package == "stream_scrub" and there != here and RANKS.get(there, 9) >= RANKS[here]:
                wrong.append(f"{path}:{line}: {here} may not import {module}")
    assert wrong == []


def test_every_room_has_a_rank():
    """A new room would stand outside the import rule."""
    assert {room(path) for path in TREES} <= set(RANKS)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_room(library):
    """Replacing or upgrading a library would touch the whole house, and pure rooms would need a broker to be tested."""
    assert [
        f"{path}:{line}: {library} belongs in {LIBRARIES[library]}"
        for path, tree in TREES.items()
        for module, line in imports(path, tree)
        if module.partition(".")[0] == library and room(path) not in LIBRARIES[library]
    ] == []


def test_only_config_reads_the_environment():
    """A variable could change a verdict without standing in the settings that `stream-scrub config` shows."""
    wrong = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            named = (isinstance(node, ast.Attribute) and node.attr) or (
                isinstance(node, ast.alias) and node.name
            )
            if named in {"environ", "environb", "getenv", "getenvb", "putenv"} and room(path) != "config":
                wrong.append(f"{path}:{node.lineno}: {named}")
    assert wrong == []


def test_only_the_edges_print():
    """Output for machines on stdout would be broken by a line from the middle of the engine."""
    assert [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "print" and RANKS[room(path)] < RANKS["worker"]
    ] == []


def test_files_and_functions_stay_short():
    """The next reader would have to hold more in mind than fits."""
    long = [
        f"{path}: {len(path.read_text().splitlines())} lines"
        for path in SOURCES
        if len(path.read_text().splitlines()) >= FILE_LINES
    ]
    long += [
        f"{path}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path, tree in TREES.items()
        for node in functions(tree)
        if node.end_lineno - node.lineno + 1 >= FUNCTION_LINES
    ]
    assert long == []


def test_folders_stay_small():
    """A newcomer could not find a module by its name in one look at its folder."""
    counts = Counter(
        path.parent.relative_to(ROOT).as_posix() for path in SOURCES if path.name != "__init__.py"
    )
    assert {folder: count for folder, count in counts.items() if count > FOLDER_MODULES} == {}


def catches_all(node: ast.AST) -> bool:
    caught: list[ast.expr | None] = []
    if isinstance(node, ast.ExceptHandler):
        caught = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type]
    elif (
        isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "suppress"
    ):
        caught = list(node.args)
    return any(
        each is None or (isinstance(each, ast.Name) and each.id in {"Exception", "BaseException"})
        for each in caught
    )


def catchers(tree: ast.AST, owner: str = "") -> Iterator[str]:
    """The innermost function around each place that catches everything; "" outside of all."""
    for node in ast.iter_child_nodes(tree):
        if catches_all(node):
            yield owner
        yield from catchers(
            node, node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else owner
        )


def test_nothing_catches_everything_without_a_reason():
    """A bug would be swallowed, and a prospect with it."""
    assert {(path, owner) for path, tree in TREES.items() for owner in catchers(tree)} == set(CATCH_ALL)
    assert all(CATCH_ALL.values())


def test_every_test_says_what_it_protects():
    """Whoever breaks a test would not know what a user loses."""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    assert tests
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in tests
        for node in functions(ast.parse(path.read_bytes()))
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ] == []


def test_files_hold_no_machine_path_and_no_promise():
    """The project would only work where it was written, or ship what was left for later."""
    unwanted = re.compile("|".join(("/" + "work/", "/" + "root/", r"\bTO" + r"DO\b")))
    wrong = []
    for path in kept_files():
        content = path.read_bytes()
        if b"\0" in content:  # tables and bitmaps
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{number}: {match[0]}"
            for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1)
            if (match := unwanted.search(line))
        ]
    assert wrong == []


def test_requirements_are_pinned_by_hash_and_name_no_index():
    """An installation could get other code than what was tested, or need one company's mirror."""
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert files
    for path in files:
        content = re.sub(r"(?m)^\s*#.*$", "", path.read_text()).replace("\\\n", " ")
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        assert lines
        for line in lines:
            assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", line) and "--hash=sha256:" in line, (
                f"{path.name}: {line[:60]}"
            )
            assert "://" not in line and not re.search(r"--(?!hash=)", line), f"{path.name}: {line[:60]}"


def commands(command, above: str = "") -> Iterator[str]:
    for name, inner in command.commands.items():
        if inner.hidden:
            continue
        path = f"{above} {name}".strip()
        if hasattr(inner, "commands"):
            yield from commands(inner, path)
        else:
            yield path


def test_every_command_is_in_the_readme():
    """A command could only be found by reading the source. (The module of `stream-scrub` has its Typer as `app`.)"""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    cli = importlib.import_module(scripts["stream-scrub"].partition(":")[0])
    readme = (ROOT / "README.md").read_text()

    known = list(commands(get_command(cli.app)))
    assert known
    assert [path for path in known if not re.search(rf"\b{re.escape(path)}\b", readme)] == []
