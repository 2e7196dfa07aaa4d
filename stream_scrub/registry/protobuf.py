"""From a schema in Protobuf, as a registry has it, to the messages that plans are made of.

protoc compiles the texts (`registry/protoc.py`), and the library links its descriptors.
"""

from collections.abc import Sequence

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    OneofDescriptor,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from stream_scrub.registry import protoc
from stream_scrub.registry.client import Schema
from stream_scrub.scrub.decode import Unreadable
from stream_scrub.scrub.protobuf import Enum, Field, Message
from stream_scrub.scrub.schemas import TYPES_MAX

_WRAPPERS = "google/protobuf/wrappers.proto"
_KINDS = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


def messages_of(schema: Schema) -> Sequence[Message]:
    """The messages that a schema declares, in its order. Raises Unreadable if it is none in Protobuf."""
    files = protoc.compiled(schema)
    pool = DescriptorPool()
    try:
        for file in files:
            if file.syntax == "editions":
                raise Unreadable("an edition of Protobuf, not proto2 or proto3")
            if protoc.has_group_in_extension(file):
                raise Unreadable("a group in an extension: it would count among the messages")
            pool.AddSerializedFile(file.SerializeToString())
        main = pool.FindFileByName(protoc.MAIN)
        if not main.message_types_by_name:
            raise Unreadable("no schema in Protobuf with a message")
        nodes = _Nodes()
        return [nodes.message(each) for each in main.message_types_by_name.values()]
    except (TypeError, KeyError, ValueError) as error:
        raise Unreadable(f"not a schema in Protobuf: {error}") from error
    except RecursionError as error:
        raise Unreadable("its messages hold each other too deeply") from error


class _Nodes:
    """Turns linked descriptors into messages, each once."""

    def __init__(self) -> None:
        self._known: dict[str, Message] = {}
        self._proto2: dict[str, bool] = {}  # by file
        self._enums: dict[
            tuple[str, bool], Enum
        ] = {}  # each once: one may have thousands of symbols, and as many fields
        self._oneofs: dict[str, list[str]] = {}

    def message(self, each: Descriptor) -> Message:
        """The message of a descriptor."""
        if each.full_name in self._known:
            return self._known[each.full_name]
        if len(self._known) == TYPES_MAX:
            raise Unreadable("too many messages")
        message = self._known[each.full_name] = Message(wrapper=each.file.name == _WRAPPERS)
        message.fields += map(self._field, each.fields)
        # Some writers count the entries of maps as messages, and others do not: an index could mean two of them.
        if not any(inner.GetOptions().map_entry for inner in each.nested_types):
            message.inner += map(self.message, each.nested_types)
        return message

    def _field(self, each: FieldDescriptor) -> Field:
        type_: Message | Enum | None = None
        described = each.message_type or each.enum_type
        if described is not None:
            type_ = (
                self.message(described)
                if isinstance(described, Descriptor)
                else self._enum(described, each.file)
            )
        return Field(
            name=each.name,
            json_name=each.json_name,
            number=each.number,
            kind=_KINDS[each.type],
            is_repeated=each.is_repeated,
            is_map=each.message_type is not None and each.message_type.GetOptions().map_entry,
            has_presence=each.has_presence,
            default=_default(each, type_) if each.has_default_value else None,
            among=self._among(each.containing_oneof) if each.containing_oneof else (),
            type=type_,
        )

    def _enum(self, each: EnumDescriptor, file: FileDescriptor) -> Enum:
        """The enum of a field that is declared in that file. In proto2 some readers close an enum of proto3 too."""
        key = each.full_name, each.is_closed or self._is_proto2(file)
        if key not in self._enums:
            symbols = {value.number: value.name for value in reversed(each.values)}  # the first of two counts
            self._enums[key] = Enum(symbols, each.values[0].name, key[1])
        return self._enums[key]

    def _is_proto2(self, file: FileDescriptor) -> bool:
        if file.name not in self._proto2:
            proto = FileDescriptorProto()
            file.CopyToProto(proto)
            self._proto2[file.name] = proto.syntax in ("", "proto2")
        return self._proto2[file.name]

    def _among(self, oneof: OneofDescriptor) -> list[str]:
        if oneof.full_name not in self._oneofs:
            self._oneofs[oneof.full_name] = [field.name for field in oneof.fields]
        return self._oneofs[oneof.full_name]


def _default(each: FieldDescriptor, type_: Message | Enum | None) -> object:
    value = each.default_value
    if isinstance(type_, Enum):
        return type_.symbols[value]
    if isinstance(value, bytes):
        return value.decode("ascii")
    # JSON has neither infinities nor NaN: it counts as missing.
    return None if isinstance(value, float) and value - value != 0 else value
