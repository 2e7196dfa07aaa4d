"""The house rules that a reader relies on and no linter knows: who imports whom, what is where, how long it may be."""

import ast
import functools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scrub"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A room imports rooms of a lower rank only. The package's own __init__ stands above all: it names what is public;
# its __version__ is a word that anyone may say.
RANKS = {
    "__version__": 0,
    "clock": 0,
    "atomic_file": 0,
    "bounded_process": 0,
    "strict_json": 0,
    "texts": 0,
    "toml_lines": 0,
    "terminal": 0,
    "errors": 0,
    "extension": 0,
    "call": 1,
    "homes": 0,
    "languages": 1,
    "made_by": 0,
    "model": 1,
    "recall_notice": 1,
    "socket_cut": 2,
    "stamp": 2,
    "timestamps": 3,
    "client": 3,
    "config": 2,
    "index": 2,
    "numbering": 2,
    "rules": 2,
    "kafka": 3,
    "log": 3,
    "scrub": 3,
    "ops": 4,
    "registry": 4,
    "dialler": 5,
    "producer": 5,
    "publisher": 5,
    "imports": 6,
    "requests": 7,
    "files": 7,
    "fanout": 7,
    "recall": 7,
    "retry": 7,
    "shadow": 7,
    "worker": 7,
    "queries": 8,
    "serve": 9,
    "demo": 10,
    "drill": 10,
    "api": 11,
    "cli": 11,
    "duckdb": 12,
    "__init__": 12,
    "__main__": 12,
}
LIBRARIES = {
    "confluent_kafka": {"kafka"},
    "pyroaring": {"imports", "index", "log", "recall"},
    "phonenumbers": {"numbering"},
    "google": {"registry"},
    "httpx": {"client", "fanout", "registry", "timestamps"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "jinja2": {"files", "terminal"},
    "uvloop": {"serve"},
    "python_multipart": {"serve"},
    "httptools": {"serve"},
    "prometheus_client": {"ops", "serve"},
}
FILE_LINES = 600
FUNCTION_LINES = 70
FOLDER_MODULES = 18
# (file, function): why whatever goes wrong there must not go further.
CATCH_ALL: dict[tuple[str, str], str] = {
    (
        "stream_scrub/imports/parsing/workbook_process.py",
        "main",
    ): "whatever a workbook does to the library that reads it (its panics are no Exception), its process reports",
    (
        "stream_scrub/kafka/self_test.py",
        "fault",
    ): "whatever is wrong with the extension, the worker goes on without it and logs why",
    (
        "stream_scrub/ops/crash_report.py",
        "coded",
    ): "a fault is told in one line without what it quotes, and ends with exit code 1",
    (
        "stream_scrub/serve/check.py",
        "_run",
    ): "whatever judging raises, each waiting request raises",
    (
        "stream_scrub/serve/watch/scrape.py",
        "scrape",
    ): "whatever the page of one process does to its reader, its row shows that, and all others are scraped",
    (
        "stream_scrub/ops/processes.py",
        "run",
    ): "whatever the work raises in its thread, its caller raises",
    (
        "stream_scrub/serve/asgi.py",
        "__call__",
    ): "a fault in one answer is logged in one line without what it quotes, and all other requests are answered",
    (
        "stream_scrub/imports/drop_importer.py",
        "read",
    ): "a file that makes us stumble is refused and told of, and requests go on",
    (
        "stream_scrub/imports/drop_importer.py",
        "_publish",
    ): "the same, where a list is compared and published",
    (
        "stream_scrub/imports/isolated_reader.py",
        "work",
    ): "the same, in the process that reads it: the place is told, and no text of the list",
    (
        "stream_scrub/kafka/client/producer_calls.py",
        "_serve",
    ): "whatever a call raises in the other thread, its caller raises",
    (
        "stream_scrub/kafka/client/client_log.py",
        "_on_error",
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


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The product's modules by path."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in SOURCES}


def test_rooms_import_downwards_only():
    """Whoever changes one room would have to know all of them."""
    wrong = []
    for path, tree in trees().items():
        here = room(path)
        for module, line in imports(path, tree):
            package, _, inner = module.partition(".")
            there = inner.partition(".")[0] if inner else "__init__"
            if package == "stream_scrub" and there != here and RANKS.get(there, 12) >= RANKS[here]:
                wrong.append(f"{path}:{line}: {here} may not import {module}")
    assert wrong == []


def test_every_room_has_a_rank():
    """A new room would stand outside the import rule."""
    assert {room(path) for path in trees()} <= set(RANKS)


def test_a_library_stays_in_its_room():
    """Replacing or upgrading a library would touch the whole house, and pure rooms would need a broker to be tested."""
    wrong = []
    for path, tree in trees().items():
        for module, line in imports(path, tree):
            library = module.partition(".")[0]
            if library in LIBRARIES and room(path) not in LIBRARIES[library]:
                wrong.append(f"{path}:{line}: {library} belongs in {LIBRARIES[library]}")
    assert wrong == []


def test_only_config_reads_the_environment():
    """A variable could change a verdict without standing in the settings that `stream-scrub config` shows."""
    wrong = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            named = (isinstance(node, ast.Attribute) and node.attr) or (
                isinstance(node, ast.alias) and node.name
            )
            sets_threads = path == "stream_scrub/cli/app.py"  # of a library, before it is loaded
            if named in {"environ", "environb", "getenv", "getenvb", "putenv"} and not (
                room(path) == "config" or sets_threads
            ):
                wrong.append(f"{path}:{node.lineno}: {named}")
    assert wrong == []


def test_types_are_laid_out_before_threads_use_them():
    """A server would crash at its first two requests: msgspec lays a struct out at its first use, and not for two threads."""
    wrong = []
    for path, tree in trees().items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                kinds = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
                if call.func.attr == "Decoder":
                    kinds += call.args
                elif call.func.attr != "decode":
                    continue
                wrong += [
                    f"{path}:{call.lineno}: make a Decoder of {ast.unparse(kind)} beside its class"
                    for kind in kinds
                    if isinstance(kind, ast.Name | ast.Attribute)
                ]
    assert wrong == []


def test_only_the_edges_print():
    """Output for machines on stdout would be broken by a line from the middle of the engine."""
    assert [
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
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
        for path, tree in trees().items()
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
    assert {(path, owner) for path, tree in trees().items() for owner in catchers(tree)} == set(CATCH_ALL)
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
