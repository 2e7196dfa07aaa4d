"""`lists remove`: a delta that empties a register, after which it counts as one that was never imported. Its chain goes on,
so a later import of the same name is the next delta."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches

from stream_scrub.config import Settings
from stream_scrub.errors import Refused
from stream_scrub.imports import import_list
from stream_scrub.imports.plan_import import ImportPlan
from stream_scrub.index import REMOVED_AT, Register, deltas
from stream_scrub.kafka import clients
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import REMOVED, DeltaSource
from stream_scrub.model import INTERNAL, Logger, RegisterKind, family
from stream_scrub.publisher import ownership
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing


@dataclass(frozen=True, slots=True)
class RegisterRemoved:
    """A register that was removed, how many numbers it held, and the position of the delta."""

    register: str
    numbers: int
    position: int


def run(
    register: str, settings: Settings, log: Logger, stage: Callable[[str, int, int], None]
) -> RegisterRemoved:
    """Remove a register. Raises Refused if its removal could let somebody be called, or if the log does not hold it;
    and as `import_list.run`."""
    book, today = scrubbing.law(settings), datetime.now(UTC).date()
    import_list.look(settings, log)
    ownership.leave_to_daemon(settings, register, log)

    def plan(replay: Replay) -> ImportPlan:
        held = replay.index.registers.get(register)
        if held is None or held.is_removed:
            raise Refused(_absent(register, [each.name for each in replay.index.present()]))
        need_removable(held, book, today)
        delta = replace(deltas.removing(held.numbers, held.numbers), reason=REMOVED)
        return ImportPlan(held, delta, replay.known(register), REMOVED_AT, 0, 0)

    source = DeltaSource("lists remove", "", clients.made_by(settings))
    done, published = import_list.publish_plan(register, plan, source, settings, log, stage)
    return RegisterRemoved(register, len(done.delta.removes), published.position)


def need_removable(register: Register, book: Rulebook, today: date) -> None:
    """Raises Refused for oppositions to the operator, and for a register of oppositions that a rule of today or later
    asks. Without consents nobody is called who was not before."""
    name = register.name
    if family(name) == INTERNAL:
        raise Refused(
            f"{name} holds people who opposed to you: remove the numbers of a wrong list with `stream-scrub lists import"
            f" FILE -r {name} --removes`"
        )
    asking = sorted(
        country.code
        for country in book.countries.values()
        if any(
            family(name) in rule.registers and (rule.end is None or rule.end >= today)
            for rule in country.rules
        )
    )
    if asking and register.kind is RegisterKind.DENY:
        raise Refused(
            f"the rules of {', '.join(asking)} ask {name}: without it their leads would be blocked as stale-register."
            " Import the right list instead"
        )


def _absent(register: str, names: list[str]) -> str:
    near = get_close_matches(register, names, n=1)
    hint = f": did you mean {near[0]}?" if near else ": `stream-scrub lists status` lists all"
    return f"the log holds no register {register}{hint}"
