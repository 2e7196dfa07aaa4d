"""Is exactly-once exact? Kills each contender with SIGKILL in mid-run, starts it again, and asks the oracle.

`python -m bench.throughput.crash [--only NAME,...] [--times N]`; some two minutes each, most of them waiting for the dead one's session
and transaction to time out. No figure of the table comes from here. Exit code: 1 when an output was wrong.
"""

import sys

from bench.harness import command, data
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.throughput.contenders import Contender
from bench.throughput.run import Outcome, choose, fill, ready
from bench.throughput.stage import Stage

NAME = "bench.throughput.crash"
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


def kill_all(contenders: list[Contender], times: int) -> bool:
    """Whether every one of them came through every kill right. Raises Failed, NoKafka."""
    register = data.register_numbers(NUMBERS)
    leads = data.prospects(PROSPECTS, register)
    with command.kafka_and_folder() as (kafka, folder):
        stage = Stage(kafka, folder, leads, say)
        try:
            fill(stage, register, contenders, PROSPECTS)
            right = [survives(stage, each) for each in contenders for _ in range(times)]
        finally:
            stage.close()
    return all(right)


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--only", metavar="NAME,...", help="just these contenders, as of python -m bench")
    parser.add_argument("--times", type=int, default=1, help="kills of each contender (1)")
    given = parser.parse_args()
    chosen = choose(parser, given.only)

    def work() -> int:
        outcome = Outcome()
        right = kill_all(ready(chosen, outcome), given.times)
        return 0 if right and not outcome.failed else 1

    return command.ended(NAME, work)


if __name__ == "__main__":
    sys.exit(main())
