"""The options that say what is in a file, shared by the commands on files."""

from typing import Annotated

import typer

NumberColumns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME", help="A column of numbers: its title, or from 1; repeatable."),
]
Region = Annotated[str | None, typer.Option(help="Region of national numbers.")]
RegionColumn = Annotated[str, typer.Option(metavar="NAME", help="The column of regions.")]
Purpose = Annotated[str | None, typer.Option(help="What the calls are for, as in insurance.")]
Campaign = Annotated[str | None, typer.Option(help="The campaign, for scoped registers.")]
Channel = Annotated[str | None, typer.Option(help="How the people are to be reached: voice, or as in sms.")]
Who = Annotated[str | None, typer.Option(help="Who is called: consumer, or company.")]
VoiceKind = Annotated[str | None, typer.Option("--voice-kind", help="Who speaks: live, or artificial.")]
ContractColumn = Annotated[str, typer.Option(metavar="NAME", help="The column of contracts.")]
Titles = Annotated[
    int | None, typer.Option(metavar="N", help="How many lines stand above the first lead.", min=0, max=50)
]
Delimiter = Annotated[str, typer.Option(metavar="SIGN", help="What separates cells, or tab.")]
Encoding = Annotated[str, typer.Option(metavar="NAME", help="Of the titles, as in cp1252.")]
Sheet = Annotated[str, typer.Option(metavar="NAME", help="The sheet: its name, or from 1.")]
