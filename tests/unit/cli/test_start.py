"""What a command loads before it does anything: the start of `--help` and of the small commands."""

import json
import subprocess
import sys

import pytest

# The libraries that take longest to load.
HEAVY = {
    *("pydantic", "rich", "numpy", "structlog", "confluent_kafka", "phonenumbers", "pyroaring"),
    *("prometheus_client", "httpx", "starlette", "uvicorn", "jinja2", "python_calamine", "xlsxwriter"),
}
SETTINGS = {"pydantic", "confluent_kafka"}
PROGRAM = """
import json, sys
from stream_scrub.cli.app import main
try:
    main()
except SystemExit:
    sys.stderr.write("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--help"], set()),
        (["check", "--help"], {"pydantic"}),  # typer itself reads the options of a command with it
        (["file", "--help"], {"pydantic"}),
        (["demo", "--nonsense"], {"pydantic"}),
        (["tokens", "list", "--set", "http.tokens="], SETTINGS),
        (["topics", "--set", "kafka=1"], SETTINGS),
        (["check", "x", "--on", "never"], SETTINGS | {"numpy", "phonenumbers", "pyroaring"}),
    ],
)
def test_a_command_loads_what_it_needs(arguments, needed, tmp_path):
    """`--help`, and each small command in a script's loop, would take half a second of processor time to start."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    loaded = set(json.loads(ended.stderr.splitlines()[-1]))
    assert loaded & HEAVY <= needed
