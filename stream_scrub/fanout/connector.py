"""Connectors: how events reach a system, as data (`connectors/*.toml`, or a file of the operator's own)."""

import base64
import hmac
import re
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from stream_scrub.numbering import national_digits, split

NumberForm = Literal["e164", "digits", "national", "significant"]
_HOLE = re.compile(r"\{([a-z_]+)\}")


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request, and which answers mean that it did its work. Texts have holes, as in `{number}`."""

    url: str
    method: str = "POST"
    form: dict[str, str] = {}
    json: Any = None
    headers: dict[str, str] = {}
    basic: tuple[str, str] | None = None
    signed: str = ""  # the keys of a Standard Webhooks signature
    # Patterns of the answer, whatever its status; without them a 2xx status is enough.
    done: tuple[str, ...] = ()
    find: str = ""  # its group in the answer fills {found} of the next step, which is done once for each
    confirms: bool = False  # its answer proves that the target has the number
    unless_list: str = ""  # leave it out for this list


class Connector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How events reach one kind of system."""

    number: NumberForm
    list: str  # its own name of the list of everything; empty: the target must name one
    batch: int = 1
    settings: dict[str, str] = {}  # with their defaults; an empty one must be given
    secrets: tuple[str, ...] = ()
    login: Step | None = None  # what it finds is {token}
    check: tuple[Step, ...] = ()  # once for each list, before the first event
    opted_out: tuple[Step, ...] = ()
    lifted: tuple[Step, ...] = ()
    recalled: tuple[Step, ...] = ()


def load(name: str) -> Connector:
    """A connector by its name, or by the path of its file. Raises ValueError that says what is wrong."""
    path = Path(name)
    shipped = files(__package__).joinpath("connectors")
    try:
        if path.suffix == ".toml":
            text = path.read_text()
        elif name in (known := sorted(each.name.removesuffix(".toml") for each in shipped.iterdir())):
            text = shipped.joinpath(f"{name}.toml").read_text()
        else:
            raise ValueError(f"is none of {', '.join([*known, 'folder'])}, and no file of your own (*.toml)")
        return msgspec.convert(tomllib.loads(text), Connector)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def in_form(number: int, form: NumberForm) -> str:
    """A number as a target writes it."""
    if form == "e164":
        return f"+{number}"
    if form == "digits":
        return str(number)
    _, significant = split(number)
    if not 2 <= len(significant) <= 17:
        return str(number)  # no telephone number of today: the target says so
    return national_digits(number) if form == "national" else significant


def filled(template: Any, values: Mapping[str, Any], *, in_url: frozenset[str] | None = None) -> Any:
    """A template with its holes filled. `in_url`: it is a URL, and all values but these are quoted. Raises KeyError."""
    match template:
        case str() if (whole := _HOLE.fullmatch(template)) and in_url is None:
            return values[whole[1]]
        case str():
            return _HOLE.sub(lambda hole: _in_text(hole[1], values, in_url), template)
        case dict():
            return {key: filled(each, values) for key, each in template.items()}
    return template


def _in_text(name: str, values: Mapping[str, Any], in_url: frozenset[str] | None) -> str:
    text = str(values[name])
    return text if in_url is None or name in in_url else quote(text, safe="")


def matches(pattern: str, values: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer has this pattern, whose holes stand for texts."""
    return re.search(_HOLE.sub(lambda hole: re.escape(str(values[hole[1]])), pattern), answer) is not None


def found(pattern: str, answer: str) -> list[str]:
    """What the group of a pattern matches in an answer, each once."""
    return list(dict.fromkeys(match[1] for match in re.finditer(pattern, answer)))


def signature(keys: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of Standard Webhooks 1.0.0: one for each key. Raises ValueError."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    secrets = [base64.b64decode(key.removeprefix("whsec_"), validate=True) for key in keys.split()]
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, sha256)).decode() for secret in secrets
    )
