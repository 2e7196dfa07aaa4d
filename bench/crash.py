"""Is exactly-once exact? Kills each contender with SIGKILL in mid-run, starts it again, and asks the oracle.

`python -m bench.crash [--only NAME,...] [--times N]`; some two minutes each, most of them waiting for the dead one's session
and transaction to time out. No figure of the table comes from here. Exit code: 1 when an output was wrong.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import data
from bench.__main__ import Outcome, choose, fill, ready, say
from bench.contenders import Contender
from bench.runner import Failed
from bench.stage import Stage
from tests.kafka.broker import Kafka, NoKafka

PROSPECTS, NUMBERS = 1_000_000, 200_000


def survives(stage: Stage, contender: Contender) -> bool:
    """Whether one kill left it right."""
    try:
        crash, found = stage.crash(contender)
    except Failed as failed:
        say(f"FAILED: {failed}")
        return False
    say(f"{contender.name}: killed after {crash.committed:,}, through {crash.back_s:.0f} s later: {found}")
    return found.right


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument("--only", metavar="NAME,...", help="just these contenders, as of python -m bench")
    parser.add_argument("--times", type=int, default=1, help="kills of each contender (1)")
    given = parser.parse_args()
    outcome = Outcome()
    contenders = ready(choose(parser, given.only), outcome)
    register = data.register_numbers(NUMBERS)
    leads = data.prospects(PROSPECTS, register)
    try:
        with tempfile.TemporaryDirectory(prefix="stream-scrub-bench-") as folder, Kafka() as kafka:
            stage = Stage(kafka, Path(folder), leads, say)
            try:
                fill(stage, register, contenders, PROSPECTS)
                right = [survives(stage, each) for each in contenders for _ in range(given.times)]
            finally:
                stage.close()
    except NoKafka as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 3
    return 0 if all(right) and not outcome.failed else 1


if __name__ == "__main__":
    sys.exit(main())
