"""Regular languages over the ten digits, for `generate` only: what all strings behind a prefix have in common.

A pattern of phonenumbers' metadata becomes a complete automaton through interegular. `cells` then answers, for every
prefix of `depth` digits at once, what the automaton says of *all* its completions to a given length. So the tables
are exact, not sampled. Nothing here runs while prospects are scrubbed.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import interegular
import numpy as np
import numpy.typing as npt

Outcomes: TypeAlias = npt.NDArray[np.uint8]  # one outcome a state, or one a cell
StateNumbers: TypeAlias = npt.NDArray[np.int32]

NEVER: Final = 0  # no completion is in the language; in a plan: no completion is a valid number
MIXED: Final = 1  # completions differ
ALWAYS: Final = 2  # every completion is in the language
DIGITS: Final = "0123456789"


@dataclass(frozen=True, slots=True, eq=False)
class Automaton:
    """Complete and deterministic. `step[state, digit]` is the next state; state 0 is the initial one."""

    step: StateNumbers  # shape (states, 10)
    accept: npt.NDArray[np.bool_]  # shape (states,)

    def after(self, digits: str) -> int:
        """The state reached from the initial one by these digits."""
        state = 0
        for digit in digits:
            state = int(self.step[state, int(digit)])
        return state

    def says(self, after: str, length: int, depth: int) -> Outcomes:
        """NEVER, MIXED or ALWAYS for each of the 10**depth prefixes of the `length` digits that follow `after`."""
        final = np.where(self.accept, ALWAYS, NEVER).astype(np.uint8)
        return cells(self.step, final, self.after(after), length, depth)


def cells(step: StateNumbers, final: Outcomes, start: int, length: int, depth: int) -> Outcomes:
    """The outcome that all completions of each prefix share, else MIXED; shape (10**depth,), in prefix order.

    `final` is the outcome of each state when all `length` digits are read; `depth` is at most `length`.
    """
    outcome = final
    for _ in range(length - depth):
        following = outcome[step]
        same = (following == following[:, :1]).all(axis=1)
        outcome = np.where(same, following[:, 0], MIXED).astype(np.uint8)
    states = np.array([start], dtype=np.int32)
    for _ in range(depth):
        states = step[states].ravel()
    return outcome[states]


@cache
def automaton(pattern: str) -> Automaton:
    """The automaton of the strings that match the whole of `pattern` (no anchors, look-around or back-references)."""
    machine = interegular.parse_pattern(pattern).to_fsm()
    dead = object()
    names: dict[Any, int] = {machine.initial: 0}
    queue: list[Any] = [machine.initial]
    rows: list[list[int]] = []
    for state in queue:
        row = []
        for digit in DIGITS:
            following = machine.map.get(state, {}).get(machine.alphabet[digit], dead)
            if following not in names:
                names[following] = len(names)
                queue.append(following)
            row.append(names[following])
        rows.append(row)
    accept = [state in machine.finals for state in queue]
    return Automaton(np.array(rows, dtype=np.int32), np.array(accept, dtype=np.bool_))


def product(parts: list[Automaton]) -> tuple[StateNumbers, StateNumbers]:
    """All automata walked side by side: the joint `step`, and for each joint state the state of every part.

    Shapes (joint, 10) and (joint, parts). They hold only joint states that some digits reach.
    """
    tables = [part.step.tolist() for part in parts]
    first = (0,) * len(parts)
    names = {first: 0}
    queue = [first]
    rows: list[list[int]] = []
    for joint in queue:
        here = [table[state] for table, state in zip(tables, joint, strict=True)]
        row = []
        for digit in range(10):
            following = tuple([steps[digit] for steps in here])
            name = names.setdefault(following, len(names))
            if name == len(queue):
                queue.append(following)
            row.append(name)
        rows.append(row)
    return np.array(rows, dtype=np.int32), np.array(queue, dtype=np.int32)
