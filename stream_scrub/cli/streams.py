"""The prospect streams: `worker`, `retry`, `recall`, `fanout`, `status`, `drill`, `expiring`, `rescrub`, `shadow report`,
`offsets` and `topics`."""

import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scrub import terminal
from stream_scrub.cli.options import Invocation, argument, option, quiet_log
from stream_scrub.clock import parse_zoned
from stream_scrub.errors import ConfigError

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.call import Call
    from stream_scrub.drill.main import DrillReport
    from stream_scrub.model import BeginAt
    from stream_scrub.ops.preflight import TopicsReport
    from stream_scrub.recall.rescrub import ExpiringReport, RescrubReport
    from stream_scrub.retry.once import RetryReport
    from stream_scrub.serve.watch.recalls import RecallStatus
    from stream_scrub.shadow.differences import ShadowReport


def worker(
    call: Invocation,
    processes: Annotated[int | None, option("N", "Workers on this machine (worker.processes).")] = None,
    identity: Annotated[
        str | None, option("--id ID", "Stable identity, unique among live workers (worker.id).")
    ] = None,
    from_end: Annotated[bool, option("--from-end", "Without a committed offset, start at the end.")] = False,
    from_beginning: Annotated[
        bool,
        option(
            "--from-beginning",
            "Without a committed offset, start at the first offset: all prospects are emitted again.",
        ),
    ] = False,
    shadow_: Annotated[
        bool, option("--shadow", "Re-judge emitted prospects under these settings and report differences.")
    ] = False,
    every: Annotated[bool, option("--every", "With --shadow: report equal verdicts too.")] = False,
) -> None:
    """Scrub prospects from Kafka to Kafka until SIGTERM or Ctrl-C."""
    from stream_scrub.cli import greeting
    from stream_scrub.shadow import daemon
    from stream_scrub.worker import start

    if from_end and from_beginning:
        raise ConfigError(["--from-end and --from-beginning: choose one"])
    settings = call.settings(worker__processes=processes, worker__id=identity)
    if every and not shadow_:
        raise ConfigError(["--every: only with --shadow"])
    if shadow_:
        if from_end or from_beginning or settings.worker.processes > 1:
            raise ConfigError(["--shadow: runs as one process and starts at the end of the outputs"])
        raise typer.Exit(daemon.run(settings, every=every))
    greeting.of_worker(settings)
    begin_at: BeginAt | None = "end" if from_end else "beginning" if from_beginning else None
    raise typer.Exit(start.run(settings, begin_at))


def retry(
    call: Invocation,
    reason: Annotated[str, option("REASON,...", "Blocked for these reasons.")] = "stale-register",
    register: Annotated[str, option("NAME", "For stale-register: only this register.")] = "",
    since: Annotated[str, option("MOMENT", "Blocked at or after; older ones are skipped for good.")] = "",
    until: Annotated[str, option("MOMENT", "Blocked before; later ones stay for the next run.")] = "",
    max_tries: Annotated[int, option("--max-tries N", "Tries per prospect at most.", min=1, max=1000)] = 5,
    dry_run: Annotated[bool, option("--dry-run", "Show the outcome without sending.")] = False,
    follow: Annotated[
        bool, option("--follow", "Run as a daemon: retry whenever a register becomes usable again.")
    ] = False,
) -> None:
    """Send blocked prospects back once the reason is gone."""
    from stream_scrub.retry import daemon, once

    settings = call.settings()
    question = once.RetryQuestion(
        once.reasons_of(reason),
        register,
        moment("--since", since),
        moment("--until", until),
        max_tries,
        dry_run,
    )
    if follow:
        once.need_followable(question)
        raise typer.Exit(daemon.run(settings, question))
    report = once.run(settings, quiet_log(settings), question)
    call.write(report, show_retried)


def recall(
    call: Invocation,
    identity: Annotated[
        str | None, option("--id ID", "Stable identity, unique among live members (worker.id).")
    ] = None,
) -> None:
    """Take back allowed prospects whose number may no longer be called, until SIGTERM or Ctrl-C."""
    from stream_scrub.recall import daemon

    raise typer.Exit(daemon.run(call.settings(worker__id=identity)))


def fanout(
    call: Invocation,
    dry_run: Annotated[
        bool, option("--dry-run", "Show each target's requests for an invented number; send nothing.")
    ] = False,
) -> None:
    """Deliver opt-outs and recalls to systems that do not read Kafka, until SIGTERM or Ctrl-C."""
    from stream_scrub.fanout import daemon

    if not dry_run:
        raise typer.Exit(daemon.run(call.settings()))
    out = terminal.people()
    for request in daemon.dry_run(call.settings()):
        out.print(f"{request.target}, {request.event}: {request.request}")
        for name, value in request.headers.items():
            out.print(f"  {name}: {value}")
        for line in request.body.splitlines():
            out.print(f"  {line}")


def status(call: Invocation) -> None:
    """Show the numbers that may still be called, by country and last day, and today's recalls."""
    from stream_scrub.serve.watch import recalls

    settings = call.settings()
    report = recalls.status(settings, quiet_log(settings), datetime.now(UTC))
    call.write(report, show_status)
    raise typer.Exit(int(bool(report.silent)))


def show_status(report: "RecallStatus") -> None:
    """Print the outstanding numbers, then today's recalls, then the addresses without an answer."""
    out = terminal.people()
    out.rows(
        ("country", "last day", "outstanding"),
        [(each.country, each.last_day, each.numbers) for each in report.outstanding],
    )
    out.rows(
        ("today", "reason", "register", "count"),
        [(each.kind, each.reason, each.register, each.count) for each in report.recalled_today],
    )
    for where in report.silent:
        out.print(f"{where} did not answer: its numbers are missing above")


def drill(
    call: Invocation,
    facts: "Call",
    region: Annotated[
        str | None, option("CODE", "The number's country: FR, GB, DE or US; default: the default region.")
    ] = None,
    within: Annotated[float, option("S", "Maximum time to each station.", min=1, max=600)] = 5,
    push: Annotated[str, option("URL", "Send the result to this Prometheus Pushgateway.")] = "",
) -> None:
    """Send a synthetic opt-out through the whole system, and show when it reached each station."""
    from stream_scrub.drill import main

    settings = call.settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the opt-out is lifted first
    country = region or settings.prospect.default_region
    report = main.Drill(settings, quiet_log(settings), country, facts, within).run()
    call.write(report, show_drill)
    if push:
        main.push(report, push, settings.worker.group_id)
    raise typer.Exit(int(not report.ok))


def show_drill(report: "DrillReport") -> None:
    """Print one row per station."""
    terminal.people().rows(
        ("station", "after", "", ""),
        [
            (
                each.station,
                "-" if each.seconds is None else f"{each.seconds:.2f} s",
                "in time" if each.in_time else "NOT in time",
                each.why,
            )
            for each in report.stations
        ],
    )


Days = Annotated[int, option("--days N", "Verdicts that end within so many days.", min=0, max=10_000)]


def expiring(call: Invocation, days: Days = 7) -> None:
    """Count the allowed prospects whose verdict ends soon, by day and country."""
    from stream_scrub.recall import rescrub as leads

    settings = call.settings()
    call.write(leads.expiring(settings, quiet_log(settings), days), show_expiring)


def rescrub(call: Invocation, days: Days = 7) -> None:
    """Renew allowed prospects whose verdict ends soon: judge them again, and emit those that now end later."""
    from stream_scrub.recall import rescrub as leads

    settings = call.settings()
    call.write(leads.rescrub(settings, quiet_log(settings), days), show_rescrubbed)


def moment(option: str, text: str) -> float | None:
    """Parse a day (00:00 UTC) or a time with its zone, to seconds since 1970. Raises ConfigError."""
    if not text:
        return None
    try:
        if len(text) == len("2026-11-26"):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        return parse_zoned(text).timestamp()
    except ValueError:
        raise ConfigError(
            [f"{option}: write a day or a time with its zone, as in 2026-11-26 or 2026-11-26T08:00:00Z"]
        ) from None


def shadow_report(
    call: Invocation,
    since: Annotated[str, option("MOMENT", "Differences found at or after.")] = "",
) -> None:
    """Show how many verdicts would change under the shadow's settings, and which."""
    from stream_scrub.shadow import differences

    settings = call.settings()
    call.write(differences.report(settings, quiet_log(settings), moment("--since", since)), show_differences)


def offsets(
    call: Invocation,
    restore: Annotated[bool, option("--restore", "Commit the recovered offsets.")] = False,
) -> None:
    """Show the workers' committed offsets; expired ones are recovered from the outputs."""
    from stream_scrub.queries import committed_offsets

    settings = call.settings()
    log = quiet_log(settings)
    position = committed_offsets.group_position(settings, log)
    if restore:
        committed_offsets.restore(settings, log, position)
    partitions = []
    for (topic, partition), committed in sorted(position.committed.items()):
        emitted = position.emitted.get((topic, partition), committed_offsets.EmittedUpto(None, ""))
        partitions.append(
            {
                "topic": topic,
                "partition": partition,
                "committed": committed,
                "emitted_upto": emitted.offset,  # the first prospect that was not emitted; None: uncertain
                "why": emitted.why,
                "restored": restore and emitted.offset is not None,
            }
        )
    call.write({"partitions": partitions}, show_offsets)
    if restore:
        committed_offsets.need_certain(position.emitted)


def show_offsets(report: dict[str, list[dict[str, Any]]]) -> None:
    """Print one row per partition."""
    terminal.people().rows(
        ("topic", "partition", "committed", "emitted up to", ""),
        [
            (
                each["topic"],
                each["partition"],
                "-" if each["committed"] is None else each["committed"],
                ""
                if each["committed"] is not None
                else "?"
                if each["emitted_upto"] is None
                else each["emitted_upto"],
                "; ".join(filter(None, (each["why"], "committed now" if each["restored"] else ""))),
            )
            for each in report["partitions"]
        ],
    )


def show_retried(report: "RetryReport") -> None:
    """Print one row per kind and outcome, then the registers that are still unusable."""
    out = terminal.people()
    rows = [(each.kind, outcome, count) for each in report.kinds for outcome, count in each.outcomes.items()]
    out.rows(("blocked for", "would" if report.dry_run else "outcome", "prospects"), rows, "nothing to retry")
    for register, why in report.waiting.items():
        out.print(f"{register} is still unusable: {why}")


def show_expiring(report: "ExpiringReport") -> None:
    """Print one row per day and country."""
    rows = [(each.day, each.country, each.leads) for each in report.days]
    terminal.people().rows(("last day", "country", "leads"), rows, "no verdict ends in these days")


def show_rescrubbed(report: "RescrubReport") -> None:
    """Print one row per country and outcome."""
    rows = [(each.country, each.outcome, each.leads) for each in report.outcomes]
    terminal.people().rows(("country", "outcome", "leads"), rows, "no verdict ends in these days")


def show_differences(report: "ShadowReport") -> None:
    """Print the totals, then one row per kind of change."""
    out = terminal.people()
    out.print(f"{report.verdicts} verdicts would change, and {report.reasons} only in their reason")
    if report.changes:
        out.rows(
            ("was", "would be", "country", "campaign", "prospects", "as in"),
            [
                (each.was, each.would, each.country, each.campaign, each.prospects, ", ".join(each.examples))
                for each in report.changes
            ],
        )


def topics(
    call: Invocation,
    partitions: Annotated[int, option("N", "Partitions of new prospects topics.", min=1)] = 6,
    replication: Annotated[int | None, option("R", "Replicas; default: the broker's default.", min=1)] = None,
    check: Annotated[
        bool, option("--check", "Change nothing; exit 1 if a topic is missing or differs.")
    ] = False,
) -> None:
    """Create the missing topics, and report how the others differ from the recommended settings."""
    from stream_scrub.ops import preflight

    report = preflight.prepare(
        call.settings(), partitions=partitions, replication=replication, only_look=check
    )
    call.write(report, show_report)
    raise typer.Exit(int(report.is_wrong))


def rights_(
    call: Invocation,
    role: Annotated[str, argument("ROLE", "As in worker, publish, recall or dialler.")],
    kafka_acls: Annotated[
        list[str] | None,
        option("--kafka-acls PRINCIPAL", "Print the kafka-acls.sh commands, as for User:worker; repeatable."),
    ] = None,
) -> None:
    """Show the Kafka rights of a role, or the commands that grant them."""
    from stream_scrub.ops.rights import commands, of_role

    settings = call.settings()
    rights = of_role(role, settings)

    def show(_: object) -> None:
        if kafka_acls:
            for line in commands(rights, kafka_acls, settings.kafka.bootstrap_servers):
                terminal.people().print(line)
            return
        terminal.people().rows(
            ("resource", "name", "operation"),
            [
                (right.resource, f"{right.name} (prefix)" if right.is_prefix else right.name, right.operation)
                for right in rights
            ],
        )

    call.write([right._asdict() for right in rights], show)


def show_report(report: "TopicsReport") -> None:
    """Print one row per topic, then the consequences of the differences."""
    out = terminal.people()
    out.rows(
        ("role", "topic", "partitions", "state", ""),
        [
            (each.role, each.topic, each.partitions, each.state, "; ".join(each.differences))
            for each in report.topics
        ],
    )
    for cost, names in report.costs.items():
        out.print(f"{', '.join(names)}: {cost}")
