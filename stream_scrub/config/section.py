"""What all sections of settings have in common."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Settings that belong together: frozen, every key known, nothing coerced."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


def contradiction(keys: Sequence[str], text: str) -> PydanticCustomError:
    """The error for settings that contradict each other."""
    return PydanticCustomError("contradiction", "{text}", {"keys": list(keys), "text": text})
