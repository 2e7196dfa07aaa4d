"""`--help`: the options under their headings, whole summaries, and examples. Plain text, since rich is slow to load."""

import inspect
from collections import defaultdict
from typing import Any

from typer.core import TyperCommand, TyperGroup

OPTIONS, ARGUMENTS, COMMANDS = "Options", "Arguments", "Commands"

# Two of each command, by its path. The tests parse every one.
EXAMPLES = {
    "demo": ("demo", "demo --seconds 60 --rate 20000"),
    "worker": (
        "worker --bootstrap-servers localhost:9092",
        "worker --config stream-scrub.toml --processes 2",
    ),
    "serve": ("serve --trial", "serve --bootstrap-servers localhost:9092 --set http.tokens=tokens.json"),
    "tokens add": (
        "tokens add dialler-7 --scope check --set http.tokens=tokens.json",
        "tokens add crm --scope check,request --if-missing --config stream-scrub.toml",
    ),
    "tokens list": (
        "tokens list --set http.tokens=tokens.json",
        "tokens list --config stream-scrub.toml --json",
    ),
    "tokens revoke": (
        "tokens revoke dialler-7 --set http.tokens=tokens.json",
        "tokens revoke dialler-7 --config stream-scrub.toml",
    ),
    "check": (
        "check '06 12 34 56 78' --region FR --purpose insurance",
        "check +33612345678 +41791234567 --on 2026-08-11 --json",
    ),
    "config": ("config", "config --set worker.processes=2 --json"),
    "docs": ("docs", "docs runbook"),
    "rights": (
        "rights worker",
        "rights worker --kafka-acls User:worker",
    ),
    "topics": (
        "topics --bootstrap-servers localhost:9092",
        "topics --check --config stream-scrub.toml",
    ),
    "offsets": ("offsets --config stream-scrub.toml", "offsets --restore --config stream-scrub.toml"),
    "retry": (
        "retry --register tps --dry-run",
        "retry --reason stale-register,no-rule --since 2026-11-20",
    ),
    "recall": (
        "recall --bootstrap-servers localhost:9092",
        "recall --config stream-scrub.toml --id recall-0",
    ),
    "fanout": (
        "fanout --config stream-scrub.toml",
        "fanout --config stream-scrub.toml --set http.listen=0.0.0.0:8080",
    ),
    "status": (
        "status --set http.watch=localhost:8080",
        "status --config stream-scrub.toml --json",
    ),
    "drill": (
        "drill --region FR --contract",
        "drill --region GB --push http://pushgateway:9091 --config stream-scrub.toml",
    ),
    "expiring": ("expiring --config stream-scrub.toml", "expiring --days 30 --json"),
    "rescrub": ("rescrub --config stream-scrub.toml", "rescrub --days 3 --json"),
    "shadow report": ("shadow report", "shadow report --since 2026-11-20 --json"),
    "lists import": (
        "lists import optouts.csv --register internal --dry-run",
        "lists import tps-2026-11-24.txt.gz --register tps --region GB",
    ),
    "lists status": ("lists status", "lists status --bootstrap-servers localhost:9092 --json"),
    "lists publish": ("lists publish", "lists publish --folder lists"),
    "lists renew": (
        "lists renew opposition.log.2 --cut cut.json",
        "lists renew opposition.log.2 --cut cut.json --without consent@acme=erased.txt",
    ),
    "lists history": (
        "lists history +33612345678",
        "lists history '06 12 34 56 78' --region FR --json",
    ),
    "lists at": ("lists at 4711 +33612345678", "lists at 4711 '06 12 34 56 78' --region FR"),
    "lists verify": ("lists verify", "lists verify --json --against last-month.json"),
    "lists anchor": ("lists anchor --config stream-scrub.toml", "lists anchor --json"),
    "lists export": ("lists export internal --into lists", "lists export --at 4711 --into lists"),
    "lists ask-reassigned": (
        "lists ask-reassigned consents.csv -o questions.csv",
        "lists ask-reassigned leads.csv crm.csv --columns phone=Mobile,given=Date",
    ),
    "lists remove": ("lists remove bloctel", "lists remove consent@acme --config stream-scrub.toml"),
    "purposes": ("purposes", "purposes --folder rules --json"),
    "rules check": ("rules check --folder rules", "rules check --no-log"),
    "rules show": ("rules show FR", "rules show FR --on 2026-08-10 --channel sms"),
    "rules publish": ("rules publish", "rules publish --folder rules"),
    "explain": (
        "explain prospect.json",
        "explain --topic allowed --partition 0 --offset 17 --json",
    ),
    "dossier": (
        "dossier +33612345678 --from 2026-11-01 --to 2026-11-30 --out dossier.html",
        "dossier '06 12 34 56 78' --region FR --from 2026-11-12 --campaign acme --json",
    ),
    "report": ("report --month 2026-10", "report --month 2026-10 --json"),
    "file": (
        "file leads.csv -o scrubbed --region FR --purpose survey --list internal=optouts.csv",
        "file leads.xlsx -o scrubbed --purpose-column usage --config stream-scrub.toml",
    ),
    "produce": (
        "produce leads.csv --region FR --bootstrap-servers localhost:9092",
        "produce leads.csv --check --purpose insurance",
    ),
    "attempts": (
        "attempts vicidial_log.csv --zone Europe/Paris --config stream-scrub.toml",
        "attempts calls.csv --column id=inin-outbound-id --status 'Not interested=refusal' --region FR",
    ),
}


def summary(text: str) -> str:
    """Return the first sentence of a command's text."""
    first, stop, _ = " ".join(inspect.cleandoc(text).split()).partition(". ")
    return first + stop.strip()


class Command(TyperCommand):
    """A command whose help has the options under their headings, then examples."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples; a line is never wrapped, so that it can be copied."""
        groups = [] if ctx.parent is None or ctx.parent.parent is None else [ctx.parent.info_name]
        with formatter.section("Examples"):
            for example in EXAMPLES[" ".join(map(str, [*groups, ctx.info_name]))]:
                formatter.write(f"  stream-scrub {example}\n")


class Group(TyperGroup):
    """A group of commands whose help has them with whole summaries."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options and commands."""
        _write_options(self, ctx, formatter)
        _write(
            {COMMANDS: [(name, summary(each.help or "")) for name, each in self.commands.items()]}, formatter
        )


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    headed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in command.get_params(ctx):
        record = each.get_help_record(ctx)
        if each.param_type_name == "argument":
            headed[ARGUMENTS].append((each.display_name_raw, each.help or ""))
        elif record is not None:
            headed[each.rich_help_panel or OPTIONS].append(record)
    _write(headed, formatter)


def _write(headed: dict[str, list[tuple[str, str]]], formatter: Any) -> None:
    for heading, rows in headed.items():
        with formatter.section(heading):
            formatter.write_dl(rows)
