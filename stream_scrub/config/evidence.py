"""The settings of evidence: how long it is kept, whose it is, and timestamps."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stream_scrub.config.registry import plain_url
from stream_scrub.config.section import Section, contradiction

KEPT_DAYS = 1827  # five years: DE and US ask for them
_ATTEMPTS_DAYS = 32  # calls of thirty days are counted


class EvidenceSettings(Section):
    """The company that a dossier names, for how long calls and recalls are kept, and timestamps by a third party (RFC
    3161)."""

    company: str = ""
    keep_days: Annotated[int, Field(ge=_ATTEMPTS_DAYS, le=36_500)] = KEPT_DAYS
    timestamp_url: Annotated[str, AfterValidator(plain_url)] = ""
    timestamp_ca: str = ""

    @model_validator(mode="after")
    def _server_and_authorities(self) -> Self:
        if self.timestamp_url and not self.timestamp_ca:
            raise contradiction(["timestamp_url", "timestamp_ca"], "should both be given, or neither")
        return self
