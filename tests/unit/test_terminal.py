"""What people read: whatever others named, it stays on its line, and no trouble in showing it is a failure."""

import ast
import io
import json
import os
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import stream_scrub
from stream_scrub import terminal
from stream_scrub.cli import app, check, lists, streams
from stream_scrub.cli.options import Invocation
from stream_scrub.config import Settings, masked
from stream_scrub.demo import view as demo_view
from stream_scrub.demo.oracle import OutputCheck
from stream_scrub.demo.play import Play, SendPlan
from stream_scrub.errors import ConfigError, Corrupt, Refused
from stream_scrub.imports.import_list import ImportEffect, ImportPreview
from stream_scrub.imports.renew_log import LogRenewed, RegisterRenewed
from stream_scrub.kafka.client.allowed_properties import HARMLESS
from stream_scrub.model import RegisterKind
from stream_scrub.ops import crash_report, preflight
from stream_scrub.queries.check import CheckedNumber
from stream_scrub.stamp import Stamp
from tests.support.running import forked
from tests.support.running.worker import SCRIPT, environment

pytestmark = pytest.mark.process

PACKAGE = Path(stream_scrub.__file__).parent
HOSTILE = "a[/x].csv\x1b]0;owned\x07\x9b2J\u202egnp.exe\r\n[red]:bomb:\udce9"

# Any sign, and more often those that a terminal or a markup would obey.
foreign = st.text(
    st.characters(codec=None, exclude_categories=())
    | st.sampled_from("[]/\\:\x1b\x9b\x07\r\n\t\u202e\u2066\u200b\udce9"),
    min_size=1,
    max_size=30,
)


def effect(text):
    foreseen = ImportPreview({text: 1}, {text: 2}, 5, {text: 3})
    return ImportEffect(
        text, text, 1, 2, 3, 2, [4, 5], 6, 7, text, 8, text, 1.0,
        refused_in=[text, text], ending=1, kept=1, would_be_refused=text, foreseen=foreseen,
    )  # fmt: skip


def verdict(text):
    members = dict.fromkeys(("verdict", "reason", "until", "index", "rules", "number"), text)
    return CheckedNumber(text, Stamp(**members, registers=[text], at_text=""), text)


def stages(text):
    with Invocation().progress() as stage:
        stage(text, 1, 2)


def topics_of(text):
    state = SimpleNamespace(role=text, name=text, partitions=1, state="differs", differences=[text])
    with (
        mock.patch.object(preflight, "plan", return_value=[state]),
        mock.patch.object(preflight.clients.Brokers, "topics"),
    ):
        streams.show_report(preflight.prepare(Settings(), partitions=1, replication=None, only_look=True))


def failed(error):
    def commands(text):
        with mock.patch.object(app, "app", side_effect=error(text)):
            app._command()

    return commands


def demo(text):
    view = demo_view.View(terminal.people())
    view.done(text)
    view.imported(effect(text))
    checker = OutputCheck([], {}, 0)
    said = SimpleNamespace(last=lambda: [text])
    view.update(
        Play(SimpleNamespace(), SendPlan(5, 100, 12), checker, SimpleNamespace(), said, [effect(text)])
    )
    view.end(
        demo_view.DemoSummary((demo_view.Check(text, False, text, text),), {"reasons": {"clear": 1}}, (text,))
    )


OUTPUTS = {
    "a line": lambda text: terminal.people().print(text, terminal.styled(text, "bold")),
    "a table": lambda text: terminal.people().rows((text, "b"), [(text, "b"), ("a", text)]),
    "lists import": lambda text: lists.show_effect(effect(text)),
    "lists renew": lambda text: lists.show_renewed(
        LogRenewed(text, 1, text, text, text, [RegisterRenewed(text, RegisterKind.ALLOW, 1, 2, 3)])
    ),
    "check": lambda text: check.show_verdicts([verdict(text)]),
    "config": lambda text: app.show_configuration(
        {
            "settings": masked(Settings(kafka={"client": {text: text}}), HARMLESS),
            "origins": {"worker.id": text},
            "problems": [text],
        }
    ),
    "a long command": stages,
    "topics": topics_of,
    "demo": demo,
    "a wrong setting": failed(lambda text: ConfigError([text, text])),
    "a refusal": failed(Refused),
    "a corrupt log": failed(Corrupt),
    "a fault": lambda text: crash_report.report(ValueError(text), text),
}


def shown(output, text):
    """What a command prints for people, on both streams, on a wide terminal without colours."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", errors="strict")
    with mock.patch.dict(os.environ, {"COLUMNS": "20000"}), redirect_stdout(out), redirect_stderr(out):
        OUTPUTS[output](text)
        out.flush()
    return out.buffer.getvalue().decode()


@pytest.mark.parametrize("output", OUTPUTS)
@given(text=foreign)
@example(text=HOSTILE)
@settings(max_examples=10, deadline=None)
def test_a_foreign_text_is_one_line_of_signs(output, text):
    """A file's name would change what the terminal shows of everything else, or end a command after it has published."""
    said, plain = shown(output, text), shown(output, "x")

    assert all(sign.isprintable() or sign == "\n" for sign in said)
    assert said.count("\n") == plain.count("\n"), "it began a line of its own"
    if text.strip() and output != "a fault":
        assert terminal.one_line(text).strip() in said or (
            terminal.document(text)[1:-1].replace("\x7f", "\\x7f") in said
        ), "it is not to be seen"


def test_a_row_in_a_pipe_is_one_line():
    """A script would find half a register's name on one line and half on the next, as wide as some terminal was."""
    out = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "40"}), redirect_stdout(out):
        terminal.people().rows(("register", "source"), [("internal", "x" * 100), ("tps", "short")])
    assert out.getvalue().splitlines() == ["register  source", f"internal  {'x' * 100}", "tps       short"]


@given(st.recursive(foreign | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(foreign, inner)))
def test_for_machines_every_text_is_json(text):
    """A name that is no UTF-8 would end a command after it has published."""
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    with redirect_stdout(out):
        terminal.machine({"a": text})

    json.loads(out.buffer.getvalue().decode("utf-8"))


def test_nothing_else_writes():
    """A new command's output would bypass what keeps foreign text from the terminal."""
    ways = {"sys.stdout", "sys.stderr", "typer.echo", "typer.secho", "print", "Text.from_markup", "Table"}
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.ImportFrom(module="rich.console" | "rich.text"):
                    found |= {(module, name.name) for name in node.names}
                case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                    found |= {(module, f"{owner}.{attribute}")} if f"{owner}.{attribute}" in ways else set()
                case ast.Name(id=name) if name in ways:
                    found.add((module, name))
    assert found == {
        ("terminal/console.py", "Console"),
        ("terminal/console.py", "Table"),
        ("terminal/console.py", "Text"),
        ("terminal/__init__.py", "Text"),
        ("terminal/__init__.py", "sys.stdout"),
        ("terminal/__init__.py", "sys.stderr"),
        ("demo/view.py", "Group"),
        ("demo/view.py", "Table"),  # of our own words and figures, in `styled`
        ("demo/view.py", "Text"),
        ("ops/logs.py", "sys.stderr"),
        ("cli/app.py", "typer.echo"),  # the version, help, and what is wrong with a command line
    }


def ended(arguments, **streams):
    env = environment("localhost:1") | streams.pop("env", {})
    return forked.run(
        [SCRIPT, *arguments], env=env, stderr=streams.pop("stderr", subprocess.PIPE), timeout=240, **streams
    )


COMMANDS = {
    ("rules", "show", "FR"): 0,
    ("config", "--set", "a=1"): 2,
}


@pytest.mark.parametrize(("arguments", "code"), COMMANDS.items())
def test_an_exit_code_tells_what_was_done_whoever_reads(arguments, code):
    """A script would import a list again because a pager was closed or a disk was full."""
    for_reading, for_writing = os.pipe()
    os.close(for_reading)
    with os.fdopen(for_writing, "wb") as nobody:
        done = ended(arguments, stdout=nobody)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
    with Path("/dev/full").open("wb") as full:
        done = ended(arguments, stdout=full)
        assert done.returncode == code and b"the output is incomplete" in done.stderr
    closed = subprocess.run(
        ["sh", "-c", '"$0" "$@" >&- 2>&-', SCRIPT, *arguments], env=environment("localhost:1"), timeout=240
    )
    assert closed.returncode == code


def test_a_closed_descriptor_is_nobody_elses(tmp_path):
    """A library's complaint on standard error would be written into a connection to a broker, or into a snapshot."""
    told = tmp_path / "told"
    code = (
        "import os, sys; from stream_scrub import terminal; terminal.take_over(); "
        f"own = os.open({str(told)!r}, os.O_CREAT | os.O_WRONLY); os.write(2, b'x'); os.write(own, b'%d' % own)"
    )
    subprocess.run(["sh", "-c", '"$0" "$@" >&- 2>&-', sys.executable, "-c", code], check=True, timeout=240)

    assert told.read_text() not in {"0", "1", "2"} and "x" not in told.read_text()


def test_a_sign_that_the_terminal_lacks_is_an_escape(tmp_path):
    """A name with an accent would end a command on a terminal of another alphabet, with exit code 1."""
    (tmp_path / "fr.toml").write_text(
        'country = "FR"\nregions = ["FR"]\ntimezone = "Europe/Paris"\n[[rule]]\nfrom = 2020-01-01\nsource = "d\u00e9cret \u2713"\n'
        'deny = ["internal"]\n'
    )
    asked = ["rules", "show", "FR", "--folder", str(tmp_path)]
    done = ended(asked, stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"d\\xe9cret \\u2713" in done.stdout, done.stderr
    done = ended([*asked, "--json"], stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "latin-1"})
    assert json.loads(done.stdout.decode("utf-8"))["rule"]["source"] == "d\u00e9cret \u2713"


@pytest.mark.parametrize(
    "arguments",
    [
        [b"lists", b"import", b"l\xe9\x1b[2J.csv", b"--register", b"internal"],
        [b"lists", b"import", b"--\x1b]0;x\x07"],
        [b"config", b"--set", b"x\x1b[31m=\xff"],
    ],
)
def test_what_is_wrong_with_a_command_line_is_told_in_signs(arguments):
    """`stream-scrub lists import *` in a folder of somebody's would do to the terminal what a file's name says."""
    done = ended(arguments, stdout=subprocess.PIPE)

    assert done.returncode in {1, 2} and b"Traceback" not in done.stderr
    assert all(sign.isprintable() or sign == "\n" for sign in done.stderr.decode()), done.stderr


def test_a_fault_is_one_line_without_what_it_quotes_and_no_exit_code_0():
    """A traceback would put the number that an exception quotes, or that a file is named by, into whatever keeps it."""
    code = """
import sys, threading
from stream_scrub.cli import app as cli
from stream_scrub.ops import crash_report as faults
def fail():
    raise KeyError("+33 6 12 34 56 78 in liste_0612345678.csv")
class Fails:
    def __del__(self): fail()
def app(**_):
    thread = threading.Thread(target=fail, name="t")
    thread.start(), thread.join()
    Fails()
    if "--log" in sys.argv:
        from stream_scrub.ops import logs
        logs.configure("error", "json")
    fail()
cli.app = app
cli.main()
"""
    for more in ([], ["--log"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *more], capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr and "12345678" not in done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 3 and all(
            "KeyError" in line and "this is a bug: report it" in line for line in lines
        )
        assert "34 56" not in done.stderr
    assert json.loads(lines[-1])["event"] == "ended by a fault"


def test_a_log_that_cannot_be_written_stops_nobody():
    """A worker would end, and all its prospects wait, because the disk under its log is full."""
    code = "from stream_scrub.ops import logs; log = logs.configure('info', 'json')\n"
    code += "for _ in range(3):\n    log.info('x')\nprint('goes on')"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, timeout=240)
    assert done.stdout == b"goes on\n"  # its code may be 120: for what Python itself had to say there


def test_a_full_pipe_is_waited_for():
    """Output into a pipe that another program set not to block would lack its middle."""
    for_reading, for_writing = os.pipe()
    os.set_blocking(for_writing, False)
    read = []
    with os.fdopen(for_writing, "wb", buffering=0) as out, os.fdopen(for_reading, "rb") as reader:
        thread = threading.Thread(target=lambda: read.append(reader.read()))
        thread.start()
        patient = terminal.NonblockingStdout(out)
        patient.write(b"x" * 1_000_000)
        out.close()
        thread.join(60)
    assert len(read[0]) == 1_000_000 and patient.lost is None
