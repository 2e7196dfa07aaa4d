"""`proof.json`: the digests of everything that a run read and wrote, and what it judged by; and whether all of it is still
so. Its own digest is its last member, so a changed byte shows wherever it is."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from stream_scrub.errors import ConfigError
from stream_scrub.files.results.outputs import WrittenFile
from stream_scrub.files.results.summary import Summary
from stream_scrub.rules import Rulebook, digest_of

FORMAT = 1
_SHA = b',\n  "sha256": "'
_PIPED = "-"
_READ = 1 << 20


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
    """What a run rests on and what it made. `rules` are the texts of the rules that decided, by their digests. `index` is
    the position on the log, `source` as in the summary. `counts` are the rows by reason."""

    format: int
    version: str
    at: datetime
    input: ProvenFile
    outputs: list[ProvenFile]
    source: str
    index: int
    registers: list[ProvenRegister]
    rules: dict[str, str]
    facts: dict[str, str]
    rows: int
    counts: dict[str, int]


class Verified(msgspec.Struct, frozen=True):
    """What was checked and is as it was, what differs, and what could not be checked here; a sentence each."""

    same: bool
    checked: list[str]
    differs: list[str]
    unchecked: list[str]


def proof_of(
    made: Summary,
    written: Sequence[WrittenFile],
    folder: Path,
    input_path: str,
    lists: dict[str, Path],
    rulebook: Rulebook,
) -> bytes:
    """The proof of a run. `lists` has the list file of each register that was read from one."""
    read = ProvenFile(_from(folder, input_path), made.input.sha256, made.input.bytes)
    proof = Proof(
        format=FORMAT,
        version=made.version,
        at=made.at,
        input=read,
        outputs=[ProvenFile(each.name, each.sha256, each.bytes) for each in written],
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


def verify(path: Path, input_path: str | None) -> Verified:
    """Whether everything is as the proof at this path says. `input_path` says where the input is now, None for where it
    was. Raises ConfigError if there is no proof."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    body, found, tail = content.rpartition(_SHA)
    if not found or tail != hashlib.sha256(body).hexdigest().encode() + b'"\n}\n':
        return Verified(False, [], [f"{path.name}: it is not as it was written"], [])
    try:
        proof = msgspec.json.decode(body + b"\n}", type=Proof)
    except msgspec.DecodeError as error:
        raise ConfigError([f"{path}: this is no proof that this version knows"]) from error
    checked, differs, unchecked = [f"{path.name}: its own digest"], [], []
    for what, file in _files(proof, input_path):
        if file.path == "":
            unchecked.append(f"{what}: it came through a pipe; name the file to check it")
        elif (problem := _problem(path.parent / file.path, file)) is None:
            checked.append(what)
        else:
            differs.append(f"{what}: {problem}")
    for digest, text in proof.rules.items():
        sound = _digest(text) == digest
        (checked if sound else differs).append(f"rule {digest}: its text" + ("" if sound else " is another"))
    if proof.source != "lists":
        unchecked.append(
            f"the registers at position {proof.index}: `stream-scrub lists verify` proves the log"
        )
    return Verified(not differs, checked, differs, unchecked)


def _files(proof: Proof, input_path: str | None) -> Iterator[tuple[str, ProvenFile]]:
    """Every file of the proof, with what it is."""
    read = proof.input
    if input_path is not None:
        read = ProvenFile(os.path.abspath(input_path), read.sha256, read.bytes)  # noqa: PTH100 - links stay links
    yield f"the input {Path(read.path).name}".rstrip(), read
    for each in proof.outputs:
        yield each.path, each
    for register in proof.registers:
        if register.list is not None:
            yield f"the list of {register.register}, {Path(register.list.path).name}", register.list


def _problem(path: Path, file: ProvenFile) -> str | None:
    made = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as held:
            while block := held.read(_READ):
                made.update(block)
                size += len(block)
    except OSError as error:
        return f"{error.strerror or error}"
    if made.hexdigest() == file.sha256:
        return None
    return f"it has {size:,} bytes and had {file.bytes:,}" if size != file.bytes else "its bytes are others"


def _list(folder: Path, path: Path | None, sha256: str) -> ProvenFile | None:
    return None if path is None else ProvenFile(_from(folder, str(path)), sha256, path.stat().st_size)


def _from(folder: Path, path: str) -> str:
    """Where a file is, seen from the folder itself: where a link to the folder leads, `..` means another one. The file may
    be a link that is set anew."""
    if path == _PIPED:
        return ""
    place, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - links stay links
    return os.path.relpath(os.path.join(os.path.realpath(place), name), os.path.realpath(folder))  # noqa: PTH118


def _digest(text: str) -> str:
    try:
        return digest_of(text.encode())
    except ValueError:
        return ""
