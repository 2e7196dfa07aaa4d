"""The settings of timestamps."""

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from stream_scrub.config.registry import plain_url
from stream_scrub.config.section import Section, contradiction


class EvidenceSettings(Section):
    """Timestamps of proofs, dossiers and the log by a third party (RFC 3161)."""

    timestamp_url: Annotated[str, AfterValidator(plain_url)] = ""
    timestamp_ca: str = ""

    @model_validator(mode="after")
    def _server_and_authorities(self) -> Self:
        if self.timestamp_url and not self.timestamp_ca:
            raise contradiction(["timestamp_url", "timestamp_ca"], "should both be given, or neither")
        return self
