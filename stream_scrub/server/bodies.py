"""What a request says: its body in bounded size and time, as JSON of a declared shape, or a problem that names the
place and quotes nothing."""

import asyncio
import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from stream_scrub import strict_json
from stream_scrub.server.problems import Kind, Problem, invalid

BODY_BYTES_MAX = 8_388_608  # ten thousand prospects with room for their purposes and contracts
_JSON = "application/json"
_BODY_S = 10.0  # for all of a body, however it comes
# msgspec's sentences name the place at their end: the names there are those of our own shapes.
_PLACE = re.compile(r"^(.*?)(?: - at `\$([\w.\[\]]*)`)?$", re.DOTALL)
_PAIRS = strict_json.decoder(list)
_UNKNOWN = "Object contains unknown field"

Shape = TypeVar("Shape")


async def read(request: Request, media_type: str = _JSON, most: int = BODY_BYTES_MAX) -> bytes:
    """The body, of at most so many bytes. Raises Problem (415, 413, 408)."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != media_type:
        # A page of another site can send a form or a text, but no JSON without asking first, and is told no then.
        raise Problem(Kind.NOT_JSON, f"send the header Content-Type: {media_type}")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    pieces, size = [], 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise _too_large(most)
    except TimeoutError as error:
        raise Problem(
            Kind.TOO_SLOW,
            f"the body was not there after {_BODY_S:.0f} s",
            {"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise Problem(Kind.MALFORMED_REQUEST, "the connection ended before the body") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(most: int) -> Problem:
    # What is left of the body is not read: the connection ends.
    return Problem(
        Kind.TOO_LARGE,
        f"send at most {most} bytes a request",
        {"Connection": "close"},
        limit=most,
    )


def decoded(decoder: msgspec.json.Decoder[Shape], body: bytes | msgspec.Raw, at: str = "") -> Shape:
    """The body as the decoder's type; `at` is where it stands. Raises Problem (422)."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid([_told(str(error), at, decoder.type)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid([(at or "body", "this is no JSON that every parser reads alike")]) from error


def need_once(body: bytes) -> None:
    """A small body in which a member stands twice is refused: parsers differ in which one they read. Raises Problem
    (422)."""
    names = [name for name, _ in _PAIRS.decode(body.decode())]
    if len({*names}) < len(names):
        raise invalid([("body", "a member stands twice")])


def _told(said: str, at: str, shape: Any) -> tuple[str, str]:
    """The place and the fault in msgspec's sentence. The names of unknown members are the request's own: instead of
    them, those that are known are told."""
    found = _PLACE.match(said)
    what, inner = (found[1], found[2] or "") if found is not None else ("it has another shape", "")
    path = f"{at}{inner}" if at else inner.lstrip(".") or "body"
    if what.startswith(_UNKNOWN):
        known = ", ".join(each.encode_name for each in msgspec.structs.fields(shape))
        return path, f"a member here is none of {known}"
    return path, what[:1].lower() + what[1:]
