"""What stands for `lists import` behind the page: answers by what the file says, without a broker. In a process of its own,
so these are functions of a module."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from stream_scrub.config import load
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.imports import import_list
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.imports.parsing.parsed_list import ListColumn
from stream_scrub.serve.page import list_import


def imported(_settings, _log, file: str, said: Mapping[str, str], dry_run: bool) -> dict:
    """The effect on `tps` of a list of so many lines. The file's first line may ask for trouble."""
    lines = Path(file).read_text().splitlines()
    match lines[0] if lines else "":
        case "bad":
            raise BadList(f"{file}: line 1 holds no valid number, nor does +33612345678")
        case "no register":
            raise ConfigError(["--register: it is none"])
        case "away":
            raise Unavailable("no broker answers")
        case "dies":
            os._exit(9)
        case "fault":
            raise RuntimeError("+33612345678")
        case "Nom;Mobile;Opt-in" if not (said.get("columns") or said.get("all_consented")):
            values = {"Nom": "xxx 3", "Mobile": "+9999 3", "Opt-in": "Oui 2, Non 1"}
            roles = {"Nom": "", "Mobile": "phone", "Opt-in": "consent"}
            raise UnstatedConsents(
                said["register"],
                [
                    ListColumn(place, title, "", roles[title], 3, 0, values[title], answers=False)
                    for place, title in enumerate(values, 1)
                ],
            )
        case "slow":
            time.sleep(60)
        case asked if asked.startswith("marks "):
            _, began, published = asked.split()
            Path(f"{began}.new").write_text(str(os.getpid()))
            Path(f"{began}.new").rename(began)
            time.sleep(20)
            Path(published).write_text("")
    return {
        "register": said["register"],
        "kind": "deny",
        "added": len(lines),
        "removed": 0,
        "unchanged": 1,
        "refused": 1,
        "refused_lines": [7],
        "duplicates": 0,
        "count": len(lines) + 1,
        "effective_at": "2026-11-26T00:00:00Z",
        "position": None if dry_run else 1234,
        "read_as": "one number a line",
        "took_s": 0.1,
        "reading": [f"columns used: {said['columns']}"] if said.get("columns") else [],
        "opt_outs": {"register": said["no_into"], "added": 1} if said.get("no_into") else None,
        "ending": 0,
        "kept": 0,
        "outside": 0,
        "endless": 0,
        "would_be_refused": "it would add too many" if lines[0] == "guarded" else "",
        "foreseen": {
            "added_in": {"GB": len(lines)},
            "removed_in": {},
            "judged": 100,
            "changed": {"clear -> opposed": 3},
        },
    }


def serve_one(file: str) -> None:
    """What a server does that has one list imported."""
    settings = load(flags={"http.listen": "127.0.0.1:0"}, environ={})
    import_list.asked = imported
    list_import.run(settings, Path(file), {"register": "tps"}, False, lambda: False)
