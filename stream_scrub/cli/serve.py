"""`stream-scrub serve`. No work is done here: it hands the server the questions that the console asks as well."""

from typing import Annotated

import typer

from stream_scrub.cli.options import Invocation, command, rules_problems
from stream_scrub.config import load


def serve(
    call: Invocation,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that share the port (http.processes).")
    ] = None,
    trial: Annotated[
        bool,
        typer.Option(
            "--trial",
            help="With a Kafka of its own in memory and three numbers, to try the API. No other setting counts.",
        ),
    ] = False,
) -> None:
    """Answer over HTTP whether numbers may be called now, until told to stop (SIGTERM or Ctrl-C)."""
    from stream_scrub.publisher import import_list
    from stream_scrub.queries import log_status, number_history, rules_report
    from stream_scrub.server.process import serving
    from stream_scrub.server.questions import Questions
    from stream_scrub.wiring import clients

    flags = call.flags(http__processes=processes)
    checks = [clients.refused_properties, rules_problems, serving.problems]
    questions = Questions(
        registers=log_status.status,
        rule=rules_report.of_day,
        history=number_history.of,
        import_list=import_list.asked,
    )
    if trial:
        from stream_scrub.demo import trial as demonstration

        with demonstration.set_up(flags, checks) as settings:
            raise typer.Exit(serving.run(settings, questions, trial=True))
    settings = load(flags=flags, config_file=call.config, extra_checks=checks)
    raise typer.Exit(serving.run(settings, questions))


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("serve")(command(serve, with_json=False))
