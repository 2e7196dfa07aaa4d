"""`stream-scrub` itself: its versions, and the completion of its commands in a shell."""

import io
import os
import platform
import shutil
import subprocess
from pathlib import Path

import confluent_kafka
import pytest
from typer.testing import CliRunner

from stream_scrub import __version__
from stream_scrub.cli.app import app
from stream_scrub.errors import ScrubError, Unavailable
from stream_scrub.kafka import self_test
from stream_scrub.scrub import backend
from tests.support.running.worker import SCRIPT

BASH = shutil.which("bash")


@pytest.mark.parametrize(
    ("best", "fault", "extension"),
    [
        ("python", "", "no extension, python transport"),
        ("native", "", "native extension, bulk transport"),
        ("native", "a byte differs", "native extension, python transport: a byte differs"),
    ],
)
def test_the_version_names_the_parts_that_it_runs_on(monkeypatch, best, fault, extension):
    """A report of a fault would leave open which client library, reader and transport it happened with."""
    used = backend.PYTHON if best == "python" else backend.native() or object()
    monkeypatch.setattr(backend, "BEST", used)
    monkeypatch.setattr(self_test, "fault", lambda: fault)

    said = CliRunner().invoke(app, ["--version"]).stdout

    libraries = f"Python {platform.python_version()}, librdkafka {confluent_kafka.libversion()[0]}"
    assert said == f"stream-scrub {__version__} ({libraries}, {extension})\n"


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_completion_of_bash_is_installed_and_completes(tmp_path):
    """An operator would have to know every command by heart, or the installer would break the shell's start."""
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    # The shell that asks is found among the parents of the process, so bash must not replace itself by the command.
    install = f"{SCRIPT} --install-completion; true"

    done = subprocess.run([BASH, "-c", install], env=env, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0 and "bash completion installed" in done.stdout, done.stderr
    script = tmp_path / ".bash_completions" / "stream-scrub.sh"
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    complete = (
        f'source {script}; COMP_WORDS=(stream-scrub lists hi); COMP_CWORD=2; PATH={Path(SCRIPT).parent}:"$PATH";'
        ' _stream_scrub_completion stream-scrub; echo "${COMPREPLY[@]}"'
    )
    found = subprocess.run([BASH, "-c", complete], env=env, capture_output=True, text=True, timeout=240)
    assert found.stdout == "history\n", found.stderr


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["explain"], "give the emitted prospect, or its --topic and --offset"),
        (["report", "--month", "2999-01"], "2999-01 has not begun"),
        (["attempts", "nowhere.csv"], "nowhere.csv: No such file or directory"),
    ],
)
def test_a_command_without_its_input_says_what_it_wants(monkeypatch, command, why):
    """A compliance officer would wait for a command that waits for its input, or read of errno."""
    monkeypatch.setattr("stream_scrub.cli.evidence.sys.stdin", Terminal())
    with pytest.raises(ScrubError, match=why):
        app(command, standalone_mode=False)


class Terminal(io.StringIO):
    """What stands for a person's keyboard."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_more_days_than_any_verdict_lasts_are_refused():
    """An operator who asks for every day would be told of a bug."""
    done = CliRunner().invoke(app, ["rescrub", "--days", "4000000"])
    assert done.exit_code == 2 and "10000" in done.output


def test_a_file_without_lists_and_without_kafka_names_the_lists_to_give(tmp_path):
    """A marketer would wait for a broker that nobody has started, and not learn which lists the law asks."""
    (tmp_path / "leads.csv").write_text("phone\n0612345678\n")
    asked = ["file", str(tmp_path / "leads.csv"), "-o", str(tmp_path / "out"), "--bootstrap-servers"]
    asked += ["PLAINTEXT://127.0.0.1:1,nowhere.invalid:9092"]
    with pytest.raises(Unavailable, match="for FR they are: --list consent=FILE --list internal=FILE"):
        CliRunner().invoke(app, asked, standalone_mode=False, catch_exceptions=False)
