"""Connectors: how events reach a system, as data (`connectors/*.toml`, or a file of the operator's own)."""

import base64
import hmac
import re
import tomllib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec

from stream_scrub.numbering import national_digits, split

NumberForm = Literal["e164", "digits", "national", "significant"]
_HOLE = re.compile(r"\{([a-z_]+)\}")
_LIKE_A_HOLE = re.compile(r"\{\s*([A-Za-z][\w .-]*)\s*\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
EVENT_VALUES = ("id", "type", "number", "numbers", "calling_code", "list", "register", "reason", "at")


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request, and which answers mean that it did its work. Texts have holes, as in `{number}`."""

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
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
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    settings: dict[str, str] = {}  # with their defaults; an empty one must be given
    secrets: tuple[str, ...] = ()
    login: Step | None = None  # its match is {token}
    check: tuple[Step, ...] = ()  # once for each list, before the first event
    opted_out: tuple[Step, ...] = ()
    lifted: tuple[Step, ...] = ()
    recalled: tuple[Step, ...] = ()


def load(name: str) -> Connector:
    """A connector by its name, or by the path of its file. Raises ValueError with the fault."""
    path = Path(name)
    shipped = files(__package__).joinpath("connectors")
    try:
        if path.suffix == ".toml":
            text = path.read_text()
        elif name in (shipped_names := sorted(each.name.removesuffix(".toml") for each in shipped.iterdir())):
            text = shipped.joinpath(f"{name}.toml").read_text()
        else:
            raise ValueError(
                f"is none of {', '.join([*shipped_names, 'folder'])}, and no file of your own (*.toml)"
            )
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
        case list():
            return [filled(each, values) for each in template]
    return template


def _in_text(name: str, values: Mapping[str, Any], in_url: frozenset[str] | None) -> str:
    text = str(values[name])
    return text if in_url is None or name in in_url else quote(text, safe="")


def matches(pattern: str, values: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer has this pattern, whose holes stand for texts."""
    return re.search(_with_texts(pattern, values), answer) is not None


def found(pattern: str, values: Mapping[str, Any], answer: str) -> list[str]:
    """What the group of a pattern matches in an answer, each once."""
    texts = [match[1] for match in re.finditer(_with_texts(pattern, values), answer)]
    return list(dict.fromkeys(text for text in texts if text is not None))


def _with_texts(pattern: str, values: Mapping[str, Any]) -> str:
    return _HOLE.sub(lambda hole: re.escape(str(values[hole[1]])), pattern)


def faults(how: Connector) -> list[str]:
    """What is wrong with the holes and patterns of a connector: at the first opt-out it would be too late."""
    shared = {*EVENT_VALUES, *how.settings, *how.secrets}
    problems = []
    if how.login is not None:
        problems += [f"login: {step_fault}" for step_fault in _step_faults(how.login, shared)]
        if not how.login.find:
            problems.append("login: find is missing: it must match the token")
        shared.add("token")
    for event in ("check", "opted_out", "lifted", "recalled"):
        steps: tuple[Step, ...] = getattr(how, event)
        names = shared
        for at, step in enumerate(steps, 1):
            problems += [f"{_kebab(event)} {at}: {step_fault}" for step_fault in _step_faults(step, names)]
            names = {*shared, "found"} if step.find else shared
        holes = {name for step in steps for text in _texts(step) for name in _HOLE.findall(text)}
        if event == "check" or not steps:
            continue
        if how.batch > 1 and ("numbers" not in holes or "number" in holes):
            problems.append(f"{_kebab(event)}: with batch = {how.batch}, send {{numbers}}, not {{number}}")
        elif not holes & {"number", "numbers"}:
            problems.append(f"{_kebab(event)}: no step sends {{number}}")
    return problems


def _step_faults(step: Step, names: set[str]) -> Iterator[str]:
    yield from _hole_faults(step, names)
    yield from _list_faults(step)
    yield from _pattern_faults(step)
    for name in step.headers:
        if not _HEADER_NAME.fullmatch(name):
            yield f"the header {name!r} is not a name"
    if step.json is not None and step.form:
        yield "json and form cannot both be sent"


def _hole_faults(step: Step, names: set[str]) -> Iterator[str]:
    for text in (*_texts(step), *step.done, step.find):
        for name in _LIKE_A_HOLE.findall(text):
            if name not in names or f"{{{name}}}" not in text:
                yield f"{{{name}}} is unknown; known are {', '.join(sorted(names))}"
    for key in _keys((step.form, step.json, step.headers)):
        if _LIKE_A_HOLE.search(key):
            yield f"the name {key!r} cannot be filled: only values are"


def _list_faults(step: Step) -> Iterator[str]:
    for text in (step.url, *step.headers.values(), *(step.basic or ()), step.signed):
        if "{numbers}" in text:
            yield "{numbers} is a list: it fills a value of json or form"
    for text in _strings((step.json, step.form)):
        if "{numbers}" in text and text != "{numbers}":
            yield f"{{numbers}} is a list, and {text!r} has other text around it"


def _pattern_faults(step: Step) -> Iterator[str]:
    for pattern in (*step.done, step.find):
        try:
            groups = re.compile(_HOLE.sub("x", pattern)).groups
        except (re.error, OverflowError, RecursionError) as error:
            yield f"the pattern {pattern!r} is not a regular expression: {error}"
            continue
        if pattern and pattern == step.find and groups != 1:
            yield f"find = {pattern!r} needs one group, around the value"


def _texts(step: Step) -> Iterator[str]:
    """The texts of a step's request."""
    yield from (step.url, step.signed, *(step.basic or ()))
    yield from _strings((step.form, step.headers, step.json))


def _strings(template: Any) -> Iterator[str]:
    match template:
        case str():
            yield template
        case dict():
            yield from _strings(tuple(template.values()))
        case list() | tuple():
            for each in template:
                yield from _strings(each)


def _keys(template: Any) -> Iterator[str]:
    match template:
        case dict():
            yield from template
            yield from _keys(tuple(template.values()))
        case list() | tuple():
            for each in template:
                yield from _keys(each)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def signature(keys: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of Standard Webhooks 1.0.0: one for each key. Raises ValueError."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    secrets = [base64.b64decode(key.removeprefix("whsec_"), validate=True) for key in keys.split()]
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, sha256)).decode() for secret in secrets
    )
