"""A file scrubbed by rules and lists of the tests' own, and what came of it."""

import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from stream_scrub import Call, ListFile, Summary, scrub_file
from stream_scrub.call import FACTS

RULES = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "an opt-out law made for the tests"
deny = ["bloctel", "internal"]
lifted_by = ["contract", "press"]
max_age_days = { bloctel = 30 }
valid_days = 28
not_callable = ["premium_rate", "+33162"]
"""
OPPOSED, SCOPED, FREE = "0612345678", "0655555555", "0611111111"
DAY = date(2026, 6, 1)


@dataclass
class Bureau:
    """A folder with rules, lists and settings, in which files are scrubbed one after the other."""

    folder: Path
    lists: dict = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self):
        (self.folder / "rules").mkdir()
        (self.folder / "rules" / "fr.toml").write_text(RULES)
        for name, numbers in {
            "bloctel": [OPPOSED],
            "internal": ["0644444444"],
            "internal@acme": [SCOPED],
        }.items():
            file = self.folder / f"{name}.txt"
            file.write_text("\n".join(numbers) + "\n")
            self.lists[name] = ListFile(file, effective_at=datetime(2026, 5, 20, tzinfo=UTC))

    @property
    def settings(self):
        return {"rules.folder": str(self.folder / "rules")}

    def scrub(self, content: bytes | Path, name: str = "leads.csv", **more) -> "Outcome":
        """Scrub these bytes as a file of that name; `more` are facts of the call, and arguments of `scrub_file`."""
        self.runs += 1
        source = content
        if isinstance(content, bytes):
            source = self.folder / str(self.runs) / name
            source.parent.mkdir()
            source.write_bytes(content)
        out = self.folder / f"out{self.runs}"
        settings = self.settings | more.pop("settings", {})
        options = {"lists": self.lists, "on": DAY, "annotated": True, "max_bad": 1.0} | more
        call = Call(**{fact: options.pop(fact) for fact in FACTS if fact in options})
        summary = scrub_file(source, out, call, settings=settings, **options)
        return Outcome(summary, out)


@dataclass
class Outcome:
    summary: Summary
    folder: Path

    def read(self, name: str) -> bytes:
        """The bytes of an output, by the beginning of its name."""
        (found,) = self.folder.glob(f"{name}.*")
        return found.read_bytes()

    @property
    def files(self) -> tuple[bytes, bytes, bytes]:
        return self.read("allowed"), self.read("blocked"), self.read("annotated")


def written(rows, delimiter: str = ";", end: str = "\n") -> str:
    """Rows as a program writes them that quotes only what must be quoted."""

    def cell(text: str) -> str:
        doubled = text.replace('"', '""')
        return f'"{doubled}"' if any(sign in text for sign in (delimiter, '"', "\n", "\r")) else text

    return "".join(delimiter.join(map(cell, row)) + end for row in rows)


def no_settings(monkeypatch, folder) -> None:
    """No settings from outside."""
    for name in [name for name in os.environ if name.startswith("STREAM_SCRUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
