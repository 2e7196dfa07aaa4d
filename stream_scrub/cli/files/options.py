"""What commands on files ask about the leads in one: each command gets all of it as one `Leads`."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scrub.cli.options import Invocation

if TYPE_CHECKING:  # it loads what no other command needs
    from stream_scrub.files.order import FileOrder

# What an option may say of all rows, by the fact's name in `files/rows/facts.py: FACTS`.
_SAID: dict[str, Any] = {
    "purpose": Annotated[str | None, typer.Option(help="What the calls are for, as in insurance.")],
    "contract": Annotated[
        bool, typer.Option("--contract", help="All have a contract with you that the calls are about.")
    ],
    "campaign": Annotated[str | None, typer.Option(help="The campaign, for scoped registers.")],
    "channel": Annotated[
        str | None, typer.Option(help="How the people are to be reached: voice, or as in sms.")
    ],
    "who": Annotated[str | None, typer.Option(help="Who is called: consumer, or company.")],
    "relation": Annotated[
        str | None,
        typer.Option(metavar="KIND:DATE", help="A relation with the caller, as in purchase:2026-01-31."),
    ],
    "voice_kind": Annotated[
        str | None, typer.Option("--voice-kind", help="Who speaks: live, or artificial.")
    ],
    "residence": Annotated[
        str | None, typer.Option(help="Region that the people live in, if another than their numbers'.")
    ],
}
# What a column may say.
_COLUMNS = {
    "region": "regions, as in FR",
    "purpose": "purposes",
    "contract": "contracts: true, or an identifier (prospect.contract_shapes)",
    "campaign": "campaigns",
    "channel": "channels",
    "who": "consumer or company",
    "relation": "relations, as in purchase:2026-01-31",
    "voice_kind": "live or artificial",
    "residence": "regions that people live in",
}
_Titles = Annotated[
    int | None, typer.Option(metavar="N", help="How many lines stand above the first lead.", min=0, max=50)
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "column": (
        Annotated[
            list[str] | None,
            typer.Option(metavar="NAME", help="A column of numbers: its title, or from 1; repeatable."),
        ],
        None,
    ),
    "region": (Annotated[str | None, typer.Option(help="Region of national numbers.")], None),
    **{fact: (option, False if fact == "contract" else None) for fact, option in _SAID.items()},
    **{
        f"{fact}_column": (Annotated[str, typer.Option(metavar="NAME", help=f"The column of {what}.")], "")
        for fact, what in _COLUMNS.items()
    },
    "titles": (_Titles, None),
    "delimiter": (
        Annotated[str, typer.Option(metavar="SIGN", help="What separates cells, or tab.")],
        "",
    ),
    "encoding": (Annotated[str, typer.Option(metavar="NAME", help="Of the titles, as in cp1252.")], ""),
    "sheet": (Annotated[str, typer.Option(metavar="NAME", help="The sheet: its name, or from 1.")], ""),
}


@dataclass(frozen=True, slots=True)
class Leads:
    """What the options say, by their names."""

    options: Mapping[str, Any]

    def order(self, file: str, folder: Path, **more: Any) -> "FileOrder":
        """The order for a file and a folder; `more` are its other fields. Raises ConfigError."""
        from stream_scrub.files.order import FileOrder
        from stream_scrub.files.rows.columns import Asked

        given = self.options
        said = {fact: "true" if given[fact] is True else given[fact] for fact in _SAID if given[fact]}
        columns = {fact: name for fact in _COLUMNS if (name := given[f"{fact}_column"])}
        numbers: Sequence[str] = given["column"] or ()
        return FileOrder(
            input=file,
            output=folder,
            columns=Asked(tuple(numbers), columns, given["titles"]),
            region=given["region"],
            said=said,
            delimiter=given["delimiter"],
            encoding=given["encoding"],
            sheet=given["sheet"],
            **more,
        )


def about_leads(function: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that say what is in a file of leads. They come to the function as its second argument, a
    `Leads`, behind the `Invocation`; its other parameters are its own options."""

    @functools.wraps(function)
    def invoked(call: Invocation, **given: Any) -> None:
        function(call, Leads({name: given.pop(name) for name in _OPTIONS}), **given)

    call, _, *own = inspect.signature(function).parameters.values()
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=default)
        for name, (option, default) in _OPTIONS.items()
    ]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    invoked.__signature__ = inspect.Signature([call, *own, *shared])  # type: ignore[attr-defined]  # `command` looks at it
    return invoked
