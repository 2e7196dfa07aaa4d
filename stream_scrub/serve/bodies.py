"""The bodies of the API: requests, read within a size and a time and decoded to a type, and error answers.

An error answer is an RFC 9457 problem of a closed set of kinds. It never quotes the request: it names places by paths
built from our own member names and list indices. docs/check-api.md lists the kinds and what a dialler does about each.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from enum import Enum
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stream_scrub import strict_json
from stream_scrub.errors import StaleIndex
from stream_scrub.languages import say, translatable, translated
from stream_scrub.ops import health

MEDIA_TYPE = "application/problem+json"
# In the state of each request's scope: its connection's `FlowControl`, what ends the connection at once, and whether the
# request's body has come.
FLOW, ABORT, WHOLE = "flow", "abort", "whole"
PROBLEM_TYPE = "/docs#"  # a link to the server's own page
_RETRY_S = 1  # most holds end within seconds


class Kind(Enum):
    """Status and title of each kind. Its lower-case name ends the problem's type."""

    MALFORMED_REQUEST = (400, translatable("Malformed HTTP request"))
    UNAUTHORIZED = (401, translatable("Authentication required"))
    FORBIDDEN = (403, translatable("Not permitted for this token"))
    NOT_FOUND = (404, translatable("Not found"))
    METHOD_NOT_ALLOWED = (405, translatable("Method not allowed"))
    TOO_SLOW = (408, translatable("Request timed out"))
    TOO_LARGE = (413, translatable("Body too large"))
    NOT_JSON = (415, translatable("Unsupported media type"))
    INVALID = (422, translatable("Invalid request"))
    TOO_MANY_REQUESTS = (429, translatable("Too many requests"))
    HEADERS_TOO_LARGE = (431, translatable("Headers too large"))
    FAULT = (500, translatable("Internal error"))
    NOT_WRITTEN = (503, translatable("Request possibly not written"))
    STALE_INDEX = (503, translatable("No safe verdict at the moment"))

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.value[0])

    @property
    def slug(self) -> str:
        """The end of the problem's type."""
        return self.name.lower().replace("_", "-")


class Problem(Exception):
    """Becomes the answer when raised below a route. `detail` is for people; `members` are added to the body."""

    def __init__(
        self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = dict(headers or {})
        self.body = msgspec.json.encode(
            {
                "type": PROBLEM_TYPE + kind.slug,
                "title": kind.value[1],
                "status": kind.status,
                "detail": detail,
                **members,
            }
        )

    @property
    def response(self) -> Response:
        """The HTTP response."""
        return Response(self.body, self.kind.status, self.headers, MEDIA_TYPE)


def stale(error: StaleIndex) -> Problem:
    """Return the 503 of a stale index, with its cause and the cure."""
    cause = health.cause(error.cause, str(error))
    headers = {"Retry-After": str(_RETRY_S)}
    return Problem(Kind.STALE_INDEX, cause.why, headers, cause=cause.cause, do=cause.do)


def too_large(why: str, most: int) -> Problem:
    """Return the 413 of a body, whose rest is not read: so the connection ends."""
    return Problem(Kind.TOO_LARGE, why, {"Connection": "close"}, limit=most)


def too_many(why: str, again_s: int = 1, *, is_read: bool = True) -> Problem:
    """Return the 429 of a request that may be sent again after `again_s` seconds. `is_read`: its body was; else the
    connection ends."""
    headers = {"Retry-After": str(again_s), **({} if is_read else {"Connection": "close"})}
    return Problem(Kind.TOO_MANY_REQUESTS, why, headers)


def invalid(errors: Sequence[tuple[str, str]], **members: Any) -> Problem:
    """Return the 422 of an invalid body: for each error the member's path and what is wrong."""
    listed = [{"path": path, "detail": detail} for path, detail in errors]
    path, detail = errors[0]
    return Problem(Kind.INVALID, f"{translated(path)}: {detail}", errors=listed, **members)


BODY_BYTES_MAX = 8_388_608  # ten thousand prospects with room for their purposes and contracts
_JSON = "application/json"
_BODY_S = 10.0  # for a whole body
# msgspec's messages end with the place, in the names of our own types.
_PLACE = re.compile(r"^(.*?)(?: - at `\$([\w.\[\]]*)`)?$", re.DOTALL)
_PAIRS = strict_json.decoder(list)
_UNKNOWN = "Object contains unknown field"
_NO_OBJECT = "Expected `object`"
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")
_NOT_JSON = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")

Shape = TypeVar("Shape")


async def read(
    request: Request, hold: Callable[[int], None], media_type: str = _JSON, most: int = BODY_BYTES_MAX
) -> bytes:
    """Read at most `most` bytes; starlette itself bounds neither size nor time. `hold` gets their number, and may refuse
    them. Raises Problem (408, 413, 415, 429)."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != media_type:
        # Another site's page can send a form or text, but JSON only after a CORS preflight, which is refused.
        raise Problem(
            Kind.NOT_JSON,
            f"the body's type is not declared: send the header Content-Type: {media_type}",
        )
    length = request.headers.get("content-length", "")
    declared_size = int(length) if length.isdigit() else 0
    above = say("the body is too large: send at most %(most)s bytes per request", most=str(most))
    if declared_size > most:
        raise too_large(above, most)
    hold(declared_size)
    pieces, size, more = list[bytes](), 0, True
    try:
        async with nullcontext() if request.scope["state"][WHOLE] else asyncio.timeout(_BODY_S):
            while more:
                message = await request.receive()  # starlette's own loop copies the body
                if message["type"] == "http.disconnect":
                    raise Problem(Kind.MALFORMED_REQUEST, "the connection closed before the end of the body")
                piece, more = message["body"], message["more_body"]
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise too_large(above, most)
                if not declared_size:
                    hold(len(piece))
    except TimeoutError as error:
        raise Problem(
            Kind.TOO_SLOW,
            f"the body did not arrive within {_BODY_S:.0f} s",
            {"Connection": "close"},
        ) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def decoded(decoder: msgspec.json.Decoder[Shape], body: bytes | msgspec.Raw, at: str = "") -> Shape:
    """Decode the body to the decoder's type; `at` is its place in the request. Raises Problem (422)."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid([_place_and_fault(str(error), at, decoder.type)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid([(at or "body", f"not valid JSON{_where(str(error), bytes(body))}")]) from error


def need_once(body: bytes) -> None:
    """Raises Problem (422) for a small body with a repeated member: parsers differ in which one they take."""
    names = [name for name, _ in _PAIRS.decode(body.decode())]
    if len({*names}) < len(names):
        raise invalid([("body", "a member occurs twice")])


def _where(message: str, body: bytes) -> str:
    """Say what msgspec found at which place; it quotes nothing of a body that is not JSON."""
    match = _NOT_JSON.match(message)
    if match is None:
        return ": it ends too early" if "truncated" in message else ""
    before = body[: int(match[2])].split(b"\n")
    return f": {match[1]} at line {len(before)}, column {len(before[-1]) + 1}"


def _place_and_fault(message: str, at: str, shape: Any) -> tuple[str, str]:
    """Split msgspec's message. It quotes an unknown member's name, which comes from the request: that name is repeated
    only if it is a word, since it could be a number."""
    match = _PLACE.match(message)
    what, inner = (match[1], match[2] or "") if match is not None else ("unexpected type", "")
    path = f"{at}{inner}" if at else inner.lstrip(".") or "body"
    if what.startswith(_UNKNOWN):
        known = [each.encode_name for each in msgspec.structs.fields(shape)]
        name = what.removeprefix(_UNKNOWN).strip(" `")
        if _WORD.fullmatch(name) is None:
            return path, f"unknown member; known are {', '.join(known)}"
        meant = get_close_matches(name, known, n=1)
        cure = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}"
        return path, f"unknown member {name}: {cure}"
    fault = what[:1].lower() + what[1:]
    if what.startswith(_NO_OBJECT) and not inner:
        names = {each.encode_name for each in msgspec.structs.fields(shape)}
        several = ', several as {"prospects": [...]}' if "prospects" in names else ""
        return path, f'{fault}: send {"each" if at else "one"} as {{"number": ...}}{several}'
    return path, fault
