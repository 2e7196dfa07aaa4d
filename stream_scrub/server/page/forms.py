"""What a form of the page says: fields, or fields with a file. Only a form of this very site counts."""

import asyncio
import unicodedata
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from stream_scrub.server import bodies
from stream_scrub.server.problems import Kind, Problem, invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # is there for type checkers only

FILE_BYTES_MAX = 268_435_456  # the largest national list is a quarter of it, unpacked
_FORM_BYTES_MAX = 16_384
_FIELDS_MAX = 20
_FIELD_BYTES_MAX = 1024
_NAME_CHARS_MAX = 100
_FILE_S = 300.0
_WRITTEN_AT_ONCE = 1_048_576

Form = Mapping[str, str]


def need_same_site(request: Request) -> None:
    """Raises Problem (403) unless a page of this very site sent it: browsers say so with every form, and let no page
    set it."""
    host, origin = request.headers.get("host"), request.headers.get("origin", "")
    # What is served without TLS may have a proxy before it that ends TLS.
    schemes = ("https",) if request.url.scheme == "https" else ("http", "https")
    if not host or origin not in {f"{scheme}://{host}" for scheme in schemes}:
        raise Problem(Kind.FORBIDDEN, "this form was not sent from this site")


async def read(request: Request) -> Form:
    """The fields that are filled in. Raises Problem (403, 413, 415)."""
    need_same_site(request)
    body = await bodies.read(request, "application/x-www-form-urlencoded", _FORM_BYTES_MAX)
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise Problem(Kind.TOO_LARGE, f"send at most {_FIELDS_MAX} fields", limit=_FIELDS_MAX) from error
    return {name: value.strip() for name, value in pairs if value.strip()}


async def receive(request: Request, open_file: Callable[[str], IO[bytes]]) -> Form:
    """The fields of a form with one file, which goes as it comes into what `open_file` gives for its name. Raises Problem
    (408, 413, 415, 422, 503)."""
    parts = _Parts(open_file)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem(Kind.NOT_JSON, "send a form with a file (multipart/form-data)")
    size = 0
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async with asyncio.timeout(_FILE_S):
            async for piece in request.stream():
                size += len(piece)
                if size > FILE_BYTES_MAX:
                    raise _too_large()
                parser.write(piece)
                if len(parts.waiting) >= _WRITTEN_AT_ONCE:
                    await asyncio.to_thread(parts.write)
            parser.finalize()
            await asyncio.to_thread(parts.write)
    except (FormParserError, UnicodeError) as error:
        raise invalid([("form", "this is no form with a file")]) from error
    except TimeoutError as error:
        raise Problem(
            Kind.TOO_SLOW, f"the file was not there after {_FILE_S:.0f} s", {"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        raise Problem(Kind.MALFORMED_REQUEST, "the connection ended before the file") from error
    except OSError as error:
        raise Problem(Kind.NOT_WRITTEN, f"the file cannot be kept here ({error.strerror})") from error
    finally:
        parts.close()
    if not parts.has_file:
        raise invalid([("list", "choose a file")])
    return {name: value for name, value in parts.fields.items() if value}


def _too_large() -> Problem:
    return Problem(
        Kind.TOO_LARGE,
        f"a file may have {FILE_BYTES_MAX >> 20} MiB: pack it, or use `stream-scrub lists import`",
        {"Connection": "close"},
        limit=FILE_BYTES_MAX,
    )


class _Parts:
    """The parts of a form as the parser finds them. A part with a file name is the file, each other one a field. How many
    parts there are, and all of them but the file's content, are bounded: an empty part costs memory too."""

    def __init__(self, open_file: Callable[[str], IO[bytes]]) -> None:
        self._open = open_file
        self._file: IO[bytes] | None = None
        self._header = self._value = b""
        self._name = ""
        self._is_file = False
        self._content = bytearray()
        self._count = self._beside = 0  # parts, and bytes of all but the file's content
        self.fields: dict[str, str] = {}
        self.waiting = bytearray()
        self.has_file = False

    def callbacks(self) -> "MultipartCallbacks":
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def write(self) -> None:
        """Put what waits into the file."""
        if self._file is not None and self.waiting:
            self._file.write(self.waiting)
            self.waiting = bytearray()

    def close(self) -> None:
        """The end, whatever it is."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        self._count += 1
        if self._count > _FIELDS_MAX:
            raise Problem(Kind.TOO_LARGE, f"send at most {_FIELDS_MAX} fields", {"Connection": "close"})
        self._name, self._is_file = "", False
        self._content.clear()

    def _header_name(self, piece: bytes, start: int, end: int) -> None:
        self._take(end - start)
        self._header += piece[start:end]

    def _header_value(self, piece: bytes, start: int, end: int) -> None:
        self._take(end - start)
        self._value += piece[start:end]

    def _take(self, size: int) -> None:
        self._beside += size
        if self._beside > _FORM_BYTES_MAX:
            raise Problem(
                Kind.TOO_LARGE,
                f"all but the file may have {_FORM_BYTES_MAX} bytes",
                {"Connection": "close"},
                limit=_FORM_BYTES_MAX,
            )

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode()
            self._is_file = b"filename" in options
            if self._is_file:
                self._begin_file(options[b"filename"].decode("utf-8", "replace"))
        self._header = self._value = b""

    def _begin_file(self, name: str) -> None:
        if self._file is not None:
            raise invalid([("list", "send one file")])
        if name:  # a field of files that was left empty has none
            self._file = self._open(plain_name(name))

    def _data(self, piece: bytes, start: int, end: int) -> None:
        if self._is_file:
            if self._file is None:
                raise invalid([("list", "give the file a name")])
            self.waiting += piece[start:end]
            self.has_file = True
            return
        self._take(end - start)
        self._content += piece[start:end]
        if len(self._content) > _FIELD_BYTES_MAX:
            raise Problem(
                Kind.TOO_LARGE, f"a field may have {_FIELD_BYTES_MAX} bytes", {"Connection": "close"}
            )

    def _end(self) -> None:
        if not self._is_file and self._name:
            self.fields[self._name] = self._content.decode().strip()


def plain_name(said: str) -> str:
    """A file's name as somebody's browser says it, as one that can stand in a folder and in a list of lists."""
    name = said.replace("\\", "/").rpartition("/")[2]
    name = "".join(sign if unicodedata.category(sign)[0] not in "CZ" else "_" for sign in name).strip(".")
    return name[-_NAME_CHARS_MAX:] or "list"
