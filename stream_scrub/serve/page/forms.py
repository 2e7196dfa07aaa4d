"""Reads the page's forms: fields, or fields with a file. Forms sent by other sites are refused."""

import asyncio
import shutil
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from stream_scrub.clock import utc_seconds
from stream_scrub.index import FIRST_ZONE
from stream_scrub.languages import say, translatable, translated
from stream_scrub.serve import bodies
from stream_scrub.serve.bodies import Kind, Problem, invalid, too_large

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # is there for type checkers only

FILE_BYTES_MAX = 268_435_456  # four times the largest national list, unpacked
_FORM_BYTES_MAX = 16_384
_FIELDS_MAX = 20
_FIELD_BYTES_MAX = 1024
_NAME_BYTES_MAX = 100
_FILE_S = 300.0
_WRITE_BYTES = 1_048_576
_TERMINAL = "delete others that you uploaded, or use `stream-scrub` in a terminal"

Form = Mapping[str, str]
# Members of an opt-out on its receipt, with their titles.
_RECEIPT = {
    "number": translatable("Number"),
    "at": translatable("Day of the objection"),
    "channel": translatable("How they objected"),
    "said_by": translatable("Who objected"),
    "recorded_at": translatable("Recorded at"),
    "source": translatable("Recorded by"),
}

_CHOSEN = {"channel", "said_by"}  # from lists of the form, whose template has their texts


class FormLimits(NamedTuple):
    """The most fields of a form with files, the most bytes of a field, and of all of them with their headers."""

    fields: int
    field_bytes: int
    form_bytes: int


_SMALL_FORM = FormLimits(_FIELDS_MAX, _FIELD_BYTES_MAX, _FORM_BYTES_MAX)


def need_same_site(request: Request) -> None:
    """Raises Problem (403) unless the header Origin, which browsers send with every form, is this site."""
    host, origin = request.headers.get("host"), request.headers.get("origin", "")
    # Without TLS here a proxy may terminate it.
    schemes = ("https",) if request.url.scheme == "https" else ("http", "https")
    if not host or origin not in {f"{scheme}://{host}" for scheme in schemes}:
        raise Problem(Kind.FORBIDDEN, say("this form was not sent from this site"))


def need_day(text: str) -> date:
    """Return a day of a form. Raises Problem (422)."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise invalid([(say("day"), say("write it as 2026-11-24"))]) from error
    if text != day.isoformat():  # as in 20261124, which no reader of requests knows
        raise invalid([(say("day"), say("write it as %(day)s", day=str(day)))])
    return day


def need_past_day(text: str) -> None:
    """Raises Problem (422) unless the text is a day that has begun somewhere on earth."""
    day = need_day(text)
    if day > (datetime.now(UTC) + FIRST_ZONE).date():
        why = say("%(day)s is in the future: give the day on which the person objected", day=day)
        raise invalid([(say("day"), why)])


def request_of(verb: str, token: str, form: Form, *members: str) -> dict[str, str]:
    """Return a request of the page, with these members of its form. `token`: the name of who fills it in."""
    now = utc_seconds(datetime.now(UTC))
    source = f"page:{token}" if token else "page"
    made = {"request": verb, "at": now, "recorded_at": now, "source": source}
    return made | {name: form[name] for name in members if name in form}


def receipt_of(opt_out: Mapping[str, str], *, is_unclear: bool) -> list[tuple[str, str]]:
    """Return the rows of an objection's receipt. One that `is_unclear` counts for every campaign."""
    rows = [
        (say(title), translated(opt_out[name]) if name in _CHOSEN else opt_out[name])
        for name, title in _RECEIPT.items()
        if name in opt_out
    ]
    covered = say("all calls")
    if "scope" in opt_out and not is_unclear:
        covered = say("calls for the campaign %(campaign)s", campaign=opt_out["scope"])
    return [*rows, (say("Covers"), covered)]


async def read(request: Request, most_fields: int = _FIELDS_MAX) -> Form:
    """Return the fields that are not empty. Raises Problem (403, 413, 415)."""
    need_same_site(request)
    kind = "application/x-www-form-urlencoded"
    body = await bodies.read(request, lambda _size: None, kind, _FORM_BYTES_MAX)  # small
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=most_fields)
    except ValueError as error:
        why = say("send at most %(most)s fields", most=most_fields)
        raise Problem(Kind.TOO_LARGE, why, limit=most_fields) from error
    return {name: value.strip() for name, value in pairs if value.strip()}


async def receive(
    request: Request, folders: Mapping[str, Path], most: int, limits: FormLimits = _SMALL_FORM
) -> tuple[Form, Form]:
    """Read a form of at most `most` bytes with files, which are streamed into the folders of their fields; returns the other
    fields, and the files' names by field. A folder keeps its newest file alone. Raises Problem (408, 413, 415, 422, 503).

    `Request.form` would spool the file to the temporary folder first, and does not bound the headers of a part.
    """
    parts, most = _FormParts(folders, limits), min(most, FILE_BYTES_MAX)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem(Kind.NOT_JSON, "send a form with a file (multipart/form-data)")
    size, room = 0, f"there is room for a file of {most >> 20} MiB now"
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        async with asyncio.timeout(_FILE_S):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise too_large(f"{room}: compress it, {_TERMINAL}", most)
                parser.write(piece)
                if len(parts.buffer) >= _WRITE_BYTES:
                    await asyncio.to_thread(parts.write)
            parser.finalize()
            await asyncio.to_thread(parts.write)
    except (FormParserError, UnicodeError) as error:
        raise invalid([("form", "not a valid multipart form")]) from error
    except TimeoutError as error:
        raise Problem(
            Kind.TOO_SLOW, f"the file did not arrive within {_FILE_S:.0f} s", {"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        raise Problem(Kind.MALFORMED_REQUEST, "the connection closed before the end of the file") from error
    except OSError as error:
        raise Problem(Kind.NOT_WRITTEN, f"the server cannot store the file ({error.strerror})") from error
    finally:
        parts.close()
    if parts.empty_files:
        raise invalid([("file", "it is empty")])
    return {name: value for name, value in parts.fields.items() if value}, parts.files


class _FormParts:
    """The parser's callbacks. A part with a file name is a file, any other a field. The number of parts and all bytes
    except the files' content are bounded: even an empty part costs memory."""

    def __init__(self, folders: Mapping[str, Path], limits: FormLimits) -> None:
        self._folders = folders
        self._limits = limits
        self._file: IO[bytes] | None = None
        self._header = self._value = b""
        self._name = ""
        self._is_file = False
        self._content = bytearray()
        self._count = self._size = 0  # parts, and bytes except the files' content
        self.fields: dict[str, str] = {}
        self.files: dict[str, str] = {}  # the names of the files that were chosen, by field
        self.empty_files: set[str] = set()
        self.buffer = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        """Return the callbacks for the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def write(self) -> None:
        """Write the buffer to the file."""
        if self._file is not None and self.buffer:
            self._file.write(self.buffer)
            self.buffer = bytearray()

    def close(self) -> None:
        """Close the file, and delete what did not come whole."""
        if self._file is not None:
            self._file.close()
        for name in self.files:
            shutil.rmtree(_part_of(self._folders[name]), ignore_errors=True)

    def _begin(self) -> None:
        self._count += 1
        most = self._limits.fields
        if self._count > most:
            raise too_large(f"send at most {most} fields", most)
        self._name, self._is_file = "", False
        self._content.clear()

    def _header_name(self, piece: bytes, start: int, end: int) -> None:
        self._take(end - start)
        self._header += piece[start:end]

    def _header_value(self, piece: bytes, start: int, end: int) -> None:
        self._take(end - start)
        self._value += piece[start:end]

    def _take(self, size: int) -> None:
        self._size += size
        most = self._limits.form_bytes
        if self._size > most:
            raise too_large(f"send at most {most} bytes apart from the files", most)

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode()
            self._is_file = b"filename" in options
            if self._is_file:
                self._begin_file(options[b"filename"].decode("utf-8", "replace"))
        self._header = self._value = b""

    def _begin_file(self, name: str) -> None:
        if self._name not in self._folders or self._name in self.files:
            raise invalid([(self._name or "file", "send one file in a field that takes one")])
        if name:  # browsers send an empty file field with an empty name
            self.files[self._name] = plain_name(name)
            self.empty_files.add(self._name)
            part = _part_of(self._folders[self._name])
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o700, parents=True)
            self._file = (part / self.files[self._name]).open("xb")

    def _data(self, piece: bytes, start: int, end: int) -> None:
        if self._is_file:
            if self._file is None:
                raise invalid([("file", "give it a name")])
            self.buffer += piece[start:end]
            self.empty_files.discard(self._name)
            return
        self._take(end - start)
        self._content += piece[start:end]
        most = self._limits.field_bytes
        if len(self._content) > most:
            raise too_large(f"a field has at most {most} bytes", most)

    def _end(self) -> None:
        if self._file is not None:
            self.write()
            self._file.close()
            self._file = None
            if self._name not in self.empty_files:  # half a file never takes the place of a whole one
                folder = self._folders[self._name]
                shutil.rmtree(folder, ignore_errors=True)
                _part_of(folder).rename(folder)
        if not self._is_file and self._name:
            self.fields[self._name] = self._content.decode().strip()


def _part_of(folder: Path) -> Path:
    """The folder of a file that is still coming."""
    return folder.with_name(f"{folder.name}.part")


def plain_name(sent: str) -> str:
    """Return the browser's file name without folders, control characters and spaces."""
    name = sent.replace("\\", "/").rpartition("/")[2]
    name = "".join(sign if unicodedata.category(sign)[0] not in "CZ" else "_" for sign in name)
    return name.encode()[-_NAME_BYTES_MAX:].decode("utf-8", "ignore").strip(".") or "list"
