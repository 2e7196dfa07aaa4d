"""`proof.json`: the digests of everything that a run read and wrote, and what it judged by; and whether all of it is still
so. Its own digest is its last member, so a changed byte shows wherever it is."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

import msgspec

from stream_scrub import timestamps
from stream_scrub.atomic_file import atomic_file
from stream_scrub.clock import utc_seconds
from stream_scrub.errors import ConfigError, ScrubError
from stream_scrub.files.outputs import OUTPUT_MODE, PROOF, OutputFile
from stream_scrub.files.summary import Summary
from stream_scrub.made_by import MadeBy
from stream_scrub.rules import Rulebook, digest_of
from stream_scrub.timestamps import SUFFIX, Timestamps

FORMAT = 1
_SHA = b',\n  "sha256": "'
_PIPED = "-"
_READ = 1 << 20
PROOF_BYTES_MAX: Final = 64 << 20


class ProvenFile(msgspec.Struct, frozen=True):
    """A file: where it is, seen from the proof's folder ("" for what came through a pipe), its SHA-256 (hex) and size."""

    path: str
    sha256: str
    bytes: int


class ProvenRegister(msgspec.Struct, frozen=True):
    """A register: how many numbers it had, the moment it spoke of, the head of its chain, and its list file, if it was read
    from one."""

    register: str
    count: int
    effective_at: datetime
    chain: str
    list: ProvenFile | None = None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a run rests on and what it made. `at` is the moment at which it was made, `on` the day whose rules decided where the
    user named one. `rules` are the texts of the rules that decided, by their digests. `index` is
    the position on the log, `source` as in the summary. `counts` are the rows by reason."""

    format: int
    version: str
    made_by: MadeBy
    at: datetime
    on: date | None
    input: ProvenFile
    outputs: list[ProvenFile]
    source: str
    index: int
    registers: list[ProvenRegister]
    rules: dict[str, str]
    facts: dict[str, str]
    rows: int
    counts: dict[str, int]


decode = msgspec.json.Decoder(Proof).decode


class Verified(msgspec.Struct, frozen=True):
    """What was checked and is as it was, what differs, and what could not be checked here; a sentence each."""

    same: bool
    checked: list[str]
    differs: list[str]
    unchecked: list[str]


def proof_of(
    made: Summary,
    written: Sequence[OutputFile],
    folder: Path,
    input_path: str,
    lists: Mapping[str, Path],
    rulebook: Rulebook,
) -> bytes:
    """The proof of a run. `lists` has the list file of each register that was read from one."""
    read = ProvenFile(_from(folder, input_path), made.input.sha256, made.input.bytes)
    proof = Proof(
        format=FORMAT,
        version=made.version,
        made_by=made.made_by,
        at=made.at,
        on=made.on,
        input=read,
        outputs=[ProvenFile(each.name, each.sha256, each.size) for each in written],
        source=made.source,
        index=made.index,
        registers=[
            ProvenRegister(
                each.register,
                each.count,
                each.effective_at,
                each.chain,
                _list(folder, lists.get(each.register), each.sha256),
            )
            for each in made.registers
        ],
        rules={each.rules: rulebook.texts[each.rules].decode() for each in made.rules},
        facts=made.facts,
        rows=made.rows,
        counts=made.reasons,
    )
    body = msgspec.json.format(msgspec.json.encode(proof), indent=2).removesuffix(b"\n}")
    return body + _SHA + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def stamp(folder: Path, timestamps: Timestamps) -> str:
    """Have the proof in a folder stamped, and write the timestamp beside it. Returns why not, or ""."""
    try:
        answer = timestamps.stamp(_content(folder / PROOF)).answer
        with atomic_file(folder, f".{PROOF}{SUFFIX}", OUTPUT_MODE) as file:
            file.out.write(answer)
            file.keep(f"{PROOF}{SUFFIX}")
    except (ScrubError, OSError) as error:
        return f"{PROOF} has no timestamp: {error}"
    return ""


def verify(
    path: Path,
    input_path: str | None,
    lists: Mapping[str, Path] = MappingProxyType({}),
    authorities: str = "",
) -> Verified:
    """Whether everything is as the proof at this path says. Of files that the proof names, those in its own folder are read.
    `input_path` and `lists` (by register) say where the others are: a proof may come from a stranger, and name any file
    of this machine. Raises ConfigError if there is no proof, or a list's register is not in it."""
    content = _content(path)
    body, found, tail = content.rpartition(_SHA)
    if not found or tail != hashlib.sha256(body).hexdigest().encode() + b'"\n}\n':
        return Verified(False, [], [f"{path.name}: it is not as it was written"], [])
    try:
        proof = decode(body + b"\n}")
    except msgspec.DecodeError as error:
        raise ConfigError([f"{path}: this is no proof that this version knows"]) from error
    if unknown := lists.keys() - {each.register for each in proof.registers if each.list is not None}:
        raise ConfigError([f"--list: {', '.join(sorted(unknown))}: the proof names no list of this register"])
    checked, differs = [f"{path.name}: its own digest"], list[str]()
    unchecked: list[str] = []
    if not proof.outputs:
        differs.append("it names no results, so it proves nothing")
    for what, file, place in _files(proof, path.parent.resolve(), input_path, lists):
        if place is None:
            why = "it came through a pipe" if file.path == "" else "it is not in the proof's folder"
            if file in proof.outputs:
                differs.append(f"{what}: {why}")
            else:
                unchecked.append(f"{what}: {why}; name the file to check it")
        elif (problem := _problem(place, file)) is None:
            checked.append(what)
        else:
            differs.append(f"{what}: {problem}")
    _check_timestamp(path, content, authorities, checked, differs, unchecked)
    sound = [digest for digest, text in proof.rules.items() if _digest(text) == digest]
    checked += [f"rule {digest}: its text" for digest in sound]
    differs += [f"rule {digest}: its text is another" for digest in proof.rules.keys() - set(sound)]
    if proof.source != "lists":
        unchecked.append(
            f"the registers at position {proof.index}: `stream-scrub lists verify` proves the log"
        )
    return Verified(not differs, checked, differs, unchecked)


def _check_timestamp(
    path: Path,
    content: bytes,
    authorities: str,
    checked: list[str],
    differs: list[str],
    unchecked: list[str],
) -> None:
    """Check the timestamp beside a proof, if there is one, by the file of authorities."""
    file = path.with_name(path.name + SUFFIX)
    if not file.exists():
        return
    try:
        answer = _content(file)
        if authorities:
            at = timestamps.check(answer, content, authorities)
            checked.append(f"{file.name}: the proof existed at {utc_seconds(at)}")
        else:
            at = timestamps.moment_of(answer)
            unchecked.append(f"{file.name}, of {utc_seconds(at)}: set evidence.timestamp_ca to check it")
    except ValueError as error:
        differs.append(f"{file.name}: {error}")


def _files(
    proof: Proof, folder: Path, input_path: str | None, lists: Mapping[str, Path]
) -> Iterator[tuple[str, ProvenFile, Path | None]]:
    """Every file of the proof, with what it is, and where it is if it may be read."""
    read = _inside(folder, proof.input.path) if input_path is None else Path(input_path)
    yield f"the input {Path(input_path or proof.input.path).name}".rstrip(), proof.input, read
    for each in proof.outputs:
        yield each.path, each, _inside(folder, each.path)
    for register in proof.registers:
        if register.list is not None:
            place = lists.get(register.register, _inside(folder, register.list.path))
            yield f"the list of {register.register}, {Path(register.list.path).name}", register.list, place


def _inside(folder: Path, path: str) -> Path | None:
    """Where a file is that the proof names; None if that is not below the proof's own folder, also by a link."""
    try:
        place = (folder / path).resolve()
    except (OSError, ValueError):  # a NUL in it, or links in a circle
        return None
    return place if path and place.is_relative_to(folder) and place != folder else None


def _problem(path: Path, file: ProvenFile) -> str | None:
    """What differs. Only a regular file is opened, and only one of the right size is read."""
    made = hashlib.sha256()
    try:
        with _regular(path) as held:
            size = os.fstat(held.fileno()).st_size
            if size != file.bytes:
                return f"it has {size:,} bytes and had {file.bytes:,}"
            left = size
            while left and (block := held.read(min(_READ, left))):
                made.update(block)
                left -= len(block)
    except OSError as error:
        return f"{error.strerror or error}"
    return None if made.hexdigest() == file.sha256 else "its bytes are others"


def _content(path: Path) -> bytes:
    try:
        with _regular(path) as held:
            content = held.read(PROOF_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    if len(content) > PROOF_BYTES_MAX:
        raise ConfigError([f"{path}: no proof is larger than {PROOF_BYTES_MAX >> 20} MiB"])
    return content


def _regular(path: Path) -> IO[bytes]:
    """A regular file, opened; a pipe without a writer would never open. Raises OSError for anything else."""
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(held).st_mode):
        return os.fdopen(held, "rb")
    os.close(held)
    raise OSError(errno.EINVAL, "it is not a regular file")


def _list(folder: Path, path: Path | None, sha256: str) -> ProvenFile | None:
    return None if path is None else ProvenFile(_from(folder, str(path)), sha256, path.stat().st_size)


def _from(folder: Path, path: str) -> str:
    """Where a file is, seen from the folder itself: where a link to the folder leads, `..` means another one. The file may
    be a link that is replaced."""
    if path == _PIPED:
        return ""
    place, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - links stay links
    return os.path.relpath(os.path.join(os.path.realpath(place), name), os.path.realpath(folder))  # noqa: PTH118


def _digest(text: str) -> str:
    try:
        return digest_of(text.encode())
    except ValueError:
        return ""
