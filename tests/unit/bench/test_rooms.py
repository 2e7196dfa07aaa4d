"""Who imports whom in the bench: a change of one bench must not change what another measures."""

import ast
from pathlib import Path

BENCH = Path(__file__).parents[3] / "bench"
# The swap is measured by what a prospect waits meanwhile: under the load of the latency bench.
ALLOWED = {("under_load/swap.py", "latency")}


def test_a_bench_takes_from_the_harness_and_from_no_other_bench():
    """Somebody who tunes one bench would change the figures of another, and nobody would know which to believe."""
    wrong = []
    for path in sorted(BENCH.glob("*/*.py")):
        here = path.parent.name
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("bench."):
                continue
            there = str(node.module).split(".")[1]
            edge = path.relative_to(BENCH).as_posix(), there
            if there not in {here, "harness"} and edge not in ALLOWED:
                wrong.append(edge)
    assert wrong == []
