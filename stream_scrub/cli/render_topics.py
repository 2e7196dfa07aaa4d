"""`topics`: create what is missing, report what differs."""

from stream_scrub import terminal
from stream_scrub.config import Settings
from stream_scrub.kafka.admin.topics import plan
from stream_scrub.model import Deadline
from stream_scrub.observability import logs
from stream_scrub.wiring import clients

_ASK_S = 30.0


def run(
    settings: Settings, *, partitions: int, replication: int | None, only_look: bool, as_json: bool
) -> int:
    """The exit code: 1 when something differs, or with `only_look` is missing. Raises Unavailable, Refused."""
    log = logs.configure("error", settings.log.format)
    deadline = Deadline.after(_ASK_S)
    names = settings.topics.model_dump()
    with clients.topics(settings, log) as topics:
        states = plan(names, topics.describe(list(names.values()), deadline), partitions)
        missing = [state for state in states if state.state == "missing"]
        if missing and not only_look:
            topics.create(missing, replication, deadline)
    rows = []
    for state in states:
        done = "created" if state.state == "missing" and not only_look else state.state
        rows.append({"role": state.role, "topic": state.name, "partitions": state.partitions, "state": done})
        rows[-1]["differences"] = list(state.differences)
    if as_json:
        terminal.machine({"topics": rows})
    else:
        shown = ("role", "topic", "partitions", "state")
        terminal.People().rows(
            (*shown, ""),
            [
                (*(row[k] for k in shown), "; ".join(state.differences))
                for row, state in zip(rows, states, strict=True)
            ],
        )
    return int(any(row["state"] in {"differs", "missing"} for row in rows))
