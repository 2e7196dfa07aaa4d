"""Schemas and records in Protobuf: compiled by protoc, and read by the library that generated readers use."""

import base64
import io
import tempfile
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from google.protobuf import message_factory, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc

WELL_KNOWN = str(files("grpc_tools") / "_proto")


def compiled(text, imported=MappingProxyType({})):
    """The descriptor of a schema by protoc; None if protoc refuses it. `imported`: the texts of other files, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, other in {**imported, "lead.proto": text}.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(other)
        out = Path(folder, "out")
        names = [f"-I{folder}", f"-I{WELL_KNOWN}", f"-o{out}", "lead.proto"]
        if protoc.main(["protoc", *names]):
            return None
        (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
        return file


def in_base64(file):
    """A descriptor as clients in Python register it."""
    return base64.b64encode(file.SerializeToString()).decode()


def class_of(file, name):
    """The class of a message, as generated code has it."""
    pool = DescriptorPool()
    if wrappers_pb2.DESCRIPTOR.name in file.dependency:
        pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def varint(number):
    """An unsigned integer as records have it."""
    out = io.BytesIO()
    while number > 0x7F:
        out.write(bytes([number & 0x7F | 0x80]))
        number >>= 7
    out.write(bytes([number]))
    return out.getvalue()


def tag(number, wire):
    """What stands in front of a field."""
    return varint(number << 3 | wire)


def sized(number, data):
    """A field with a length: a text, bytes or a message."""
    return tag(number, 2) + varint(len(data)) + data


def plain(number, value):
    """A field with an integer."""
    return tag(number, 0) + varint(value % (1 << 64))
