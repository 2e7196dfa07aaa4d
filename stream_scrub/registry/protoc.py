"""Compiles a schema in Protobuf with protoc, in a process of its own (`protoc_process`), in bounded memory and time."""

import binascii
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message import DecodeError

from stream_scrub.config import library_environment
from stream_scrub.registry.client import Schema
from stream_scrub.registry.protoc_process import SET_IN, SET_OUT, TEXTS
from stream_scrub.scrub.decode import Unreadable

MAIN: Final = "stream_scrub_main.proto"  # the schema itself; no other schema imports it
_MAX_BYTES = 512 << 20
_MAX_S = 10.0
_WHY_CHARS_MAX = 300
# Names are protoc's arguments and paths in a folder.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")


def shipped() -> Mapping[str, FileDescriptorProto]:
    """The files that schemas import without a reference: those of the library, and Confluent's for its options."""
    files = [_confluent_meta()]
    for name in ("any", "descriptor", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"):
        file = FileDescriptorProto()
        import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return {file.name: file for file in files}


def _confluent_meta() -> FileDescriptorProto:
    """confluent/meta.proto: tags of fields, which no value depends on."""
    file = FileDescriptorProto(
        name="confluent/meta.proto",
        package="confluent",
        syntax="proto3",
        dependency=["google/protobuf/descriptor.proto"],
    )
    meta = file.message_type.add(name="Meta")
    string, message = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    meta.field.add(name="doc", number=1, label=one, type=string)
    entry = ".confluent.Meta.ParamsEntry"
    meta.field.add(name="params", number=2, label=many, type=message, type_name=entry)
    meta.field.add(name="tags", number=3, label=many, type=string)
    params = meta.nested_type.add(name="ParamsEntry")
    params.options.map_entry = True
    params.field.add(name="key", number=1, label=one, type=string)
    params.field.add(name="value", number=2, label=one, type=string)
    for name, kind in (
        ("file_meta", "File"),
        ("message_meta", "Message"),
        ("field_meta", "Field"),
        ("enum_meta", "Enum"),
        ("enum_value_meta", "EnumValue"),
    ):
        extendee = f".google.protobuf.{kind}Options"
        file.extension.add(
            name=name, number=1088, label=one, type=message, type_name=".confluent.Meta", extendee=extendee
        )
    return file


def compiled(schema: Schema) -> list[FileDescriptorProto]:
    """The files of a schema, each after those that it imports; the last one is MAIN. Raises Unreadable."""
    descriptors, texts = dict(shipped()), dict[str, str]()
    # Generated readers have their own files of the library's, whatever the registry has under these names.
    references = [reference for reference in schema.references if reference.name not in descriptors]
    for name, text in [*((reference.name, reference.text) for reference in references), (MAIN, schema.text)]:
        if not _NAME.fullmatch(name):
            raise Unreadable("it imports a file with a name that is not one of Protobuf's")
        descriptor = _descriptor(text)
        if descriptor is None:
            texts[name] = text
        else:
            descriptor.name = name
            descriptors[name] = descriptor
    if MAIN in texts:
        return _run([MAIN], texts, descriptors.values())
    if texts:
        for file in _run([*texts], texts, descriptors.values()):
            descriptors[file.name] = file
    return _run([MAIN], {}, descriptors.values())


def _descriptor(text: str) -> FileDescriptorProto | None:
    """A file's descriptor in Base64, as clients in Python register it; None if this is the file's text."""
    try:
        return FileDescriptorProto.FromString(binascii.a2b_base64(text, strict_mode=True))
    except (binascii.Error, DecodeError, ValueError):
        return None


def _run(
    names: Sequence[str], texts: Mapping[str, str], descriptors: Iterable[FileDescriptorProto]
) -> list[FileDescriptorProto]:
    """The files of these names, with all that they import. Raises Unreadable."""
    with tempfile.TemporaryDirectory(prefix="stream-scrub-protoc-") as at:
        folder = Path(at)
        (folder / SET_IN).write_bytes(FileDescriptorSet(file=descriptors).SerializeToString())
        (folder / TEXTS).mkdir()
        try:
            for name, text in texts.items():
                path = folder / TEXTS / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        except (OSError, ValueError) as error:
            raise Unreadable("not a schema in Protobuf: a file or its name cannot be written") from error
        done = _protoc(folder, names)
        if done.returncode or not (folder / SET_OUT).exists():
            complaint = done.stderr.decode(errors="replace").strip()[:_WHY_CHARS_MAX]
            raise Unreadable(
                f"not a schema in Protobuf: {complaint or f'protoc ended with code {done.returncode}'}"
            )
        return list(FileDescriptorSet.FromString((folder / SET_OUT).read_bytes()).file)


def _protoc(folder: Path, names: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603  # names are checked, texts are in files
            [
                *(sys.executable, "-P", "-m", "stream_scrub.registry.protoc_process"),
                *(str(_MAX_BYTES), str(_MAX_S), str(folder), *names),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=library_environment(),
            timeout=_MAX_S,
            check=False,
            start_new_session=True,  # Ctrl-C is for the worker
        )
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"protoc takes more than {_MAX_S:g} s to compile it") from error


def has_group_in_extension(file: FileDescriptorProto) -> bool:
    """Whether an extension is a group: writers differ in whether its message counts among the others."""
    holders: list[FileDescriptorProto | DescriptorProto] = [file, *file.message_type]
    for holder in holders:  # it grows meanwhile
        if any(each.type == FieldDescriptorProto.TYPE_GROUP for each in holder.extension):
            return True
        if isinstance(holder, DescriptorProto):
            holders += holder.nested_type
    return False
