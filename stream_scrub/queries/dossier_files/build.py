"""What a dossier is about, and its files: for the command and the server."""

from contextlib import suppress
from datetime import date
from typing import Any

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.languages import ENGLISH
from stream_scrub.model import Logger, Progress
from stream_scrub.queries import dossier, history
from stream_scrub.queries.dossier import DossierRequest
from stream_scrub.queries.dossier_files import complaint, dossier_page
from stream_scrub.timestamps import SUFFIX, Timestamps

ANSWER = "answer.json"  # what the server shows (`complaint.ComplaintAnswer`)


def request_of(
    settings: Settings,
    number: str,
    region: str | None,
    first: date | None,
    last: date | None,
    *,
    token: str = "",
    campaign: str = "",
    case: str = "",
    language: str = ENGLISH,
) -> DossierRequest:
    """What a dossier is about; without a day, everything that is held on the number. `token`: its name, of who asks a
    server. Raises ConfigError."""
    region = region or settings.prospect.default_region
    parsed, made_by = history.number_of(number, region), str(clients.made_by(settings, token))
    more: dict[str, Any] = {"campaign": campaign, "made_by": made_by, "case": case, "language": language}
    if first is None:
        return DossierRequest.of_everything(parsed, region, **more)
    return DossierRequest(parsed, region, first, last or first, **more)


def files_of(settings: Settings, log: Logger, about: DossierRequest, progress: Progress) -> dict[str, bytes]:
    """Read a dossier. Returns by file name: its page, its data, what the server shows of it, and the timestamps of the
    first two if a server is set and answers. Raises as `dossier.gather`."""
    made = dossier.gather(settings, log, about, progress)
    files = {"dossier.html": dossier_page.rendered(made).encode(), "dossier.json": msgspec.json.encode(made)}
    if server := Timestamps.of(settings.evidence):
        for name, content in list(files.items()):
            with suppress(Unavailable, Refused):  # the page shows which there are
                files[f"{name}{SUFFIX}"] = server.stamp(content).answer
    return {**files, ANSWER: msgspec.json.encode(complaint.of(made))}
