"""The settings of the schema registry."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stream_scrub.config.section import Section, contradiction


def plain_url(value: str) -> str:
    """An address without a secret, for a validator."""
    match = re.fullmatch(r"https?://[^/?#\s]+(?:/[^?#\s]*)?", value)
    if value and (match is None or "@" in value):
        raise ValueError("should be http:// or https://, a host, and no user, password or query")
    return value


class Registry(Section):
    """The schema registry. `password_file`, `token_file`, `ca`: paths."""

    url: Annotated[str, AfterValidator(plain_url)] = ""
    user: str = ""
    password_file: str = ""
    token_file: str = ""
    ca: str = ""
    timeout_s: Annotated[float, Field(ge=0.1, le=30)] = 5

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.user) != bool(self.password_file):
            raise contradiction(["user", "password_file"], "should both be given, or neither")
        if self.user and self.token_file:
            raise contradiction(["user", "token_file"], "should not both be given")
        return self
