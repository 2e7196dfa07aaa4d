"""Prospects in Protobuf: tables, made once for each message of a schema, say what is read of a record. Pure.

`protobuf_walk.py` walks a record by its message's table. It keeps the configured members alone and skips the others by their
lengths. The last of several values counts, messages that occur twice are merged, and a default counts as the value, as for
every generated reader. What readers take differently, as two members of a oneof, is unreadable.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_scrub.scrub.decode import Members, Unreadable, folder
from stream_scrub.scrub.protobuf_walk import (
    EVERY,
    FIXED32,
    FIXED64,
    LENGTH,
    START,
    VARINT,
    Act,
    Enum,
    FieldStep,
    MessageTable,
    SchemaTables,
    WalkState,
    reader,
)
from stream_scrub.scrub.schemas import TYPES_MAX, Indexes, Wanted, called, tree


@dataclass(eq=False, slots=True)
class Message:
    """A type of message. `wrapper`: it stands for its only field, as google.protobuf.StringValue does. `inner`: the messages
    that are declared in it, in the order of their indexes."""

    fields: "list[Field]" = field(default_factory=list)
    wrapper: bool = False
    inner: "list[Message]" = field(default_factory=list)


class Field(NamedTuple):
    """A field of a message. `kind`: the type's name in descriptors, in small letters. `has_presence`: readers can tell
    whether it was set. `default`: what they read if it was not; None if nothing is declared. `among`: the names of all
    fields of its oneof, one list for these."""

    name: str
    json_name: str
    number: int
    kind: str
    is_repeated: bool = False
    is_map: bool = False
    has_presence: bool = True
    default: Any = None
    among: Collection[str] = ()
    type: Message | Enum | None = None


def tables_of(messages: Sequence[Message], members: Members) -> SchemaTables:
    """How the records of a schema with these messages are read. Raises Unreadable if there are too many, or they hold each
    other too deeply."""
    compiler, tables = _ProtobufCompiler(folder(members.case)), dict[Indexes, MessageTable]()
    wanted = tree(members, compiler.compared)
    open_at: list[tuple[Indexes, Sequence[Message]]] = [((), messages)]
    try:
        for around, inside in open_at:
            for place, message in enumerate(inside):
                which = (*around, place)
                tables[which] = compiler.table(message, wanted)
                open_at.append((which, message.inner))
                if len(tables) > TYPES_MAX:
                    raise Unreadable("too many messages")
    except RecursionError as error:
        raise Unreadable("its messages hold each other too deeply") from error
    return SchemaTables(tables, compiler.walk)


class _ProtobufCompiler:
    """Makes the tables of messages. Types that hold themselves meet their own table."""

    def __init__(self, compared: Callable[[str], str]) -> None:
        self.compared = compared
        self.walk = WalkState()
        # By the members to keep, which the tree of the wanted ones holds.
        self._tables: dict[tuple[Message, int], MessageTable] = {}

    def table(self, message: Message, wanted: Wanted | None) -> MessageTable:
        """How a message is read. `wanted`: the members to keep; None: all."""
        key = message, id(wanted)
        if key in self._tables:
            return self._tables[key]
        table = self._tables[key] = MessageTable(numbers={each.number for each in message.fields})
        own = {self.compared(each.name) for each in message.fields} if wanted is not None else set[str]()
        names = {
            each.name: each.name
            if wanted is None
            else called(each.name, (each.json_name,), own, wanted, self.compared)
            for each in message.fields
        }
        kept = [name for name in names.values() if name is not None]
        if len({*kept}) < len(kept):
            raise Unreadable("two fields are called the same")
        # The same list for all members of a oneof: there may be thousands.
        oneofs = {id(each.among): each.among for each in message.fields}
        kept_of = {which: [name for of in among if (name := names[of])] for which, among in oneofs.items()}
        for each in message.fields:
            name = names[each.name]
            among = kept_of[id(each.among)]
            if among == [name]:
                among = []
            inner = wanted[self.compared(name)] if wanted is not None and name is not None else None
            self._steps(table, each, name, among, inner)
            if wanted is None:
                table.cost += len(each.name)
        return table

    def _steps(
        self,
        table: MessageTable,
        each: Field,
        name: str | None,
        among: Sequence[str],
        wanted: Wanted | None,
    ) -> None:
        wire = _WIRES.get(each.kind, VARINT)
        tag = each.number << 3 | wire
        packed = each.number << 3 | LENGTH if each.is_repeated and wire not in {LENGTH, START} else None
        if name is None:
            table.steps[tag] = FieldStep(Act.PASSING, number=tag, among=among) if among else None
            if packed is not None:
                table.steps[packed] = None
            return
        step = table.steps[tag] = self._step(each, name, among, wanted)
        if packed is not None:
            table.steps[packed] = step._replace(act=Act.PACKED)
        if not each.is_repeated and (default := _default(each, step, wanted)) is not None:
            table.defaults.append((name, default))
            table.cost += len(str(default))

    def _step(self, each: Field, name: str, among: Sequence[str], wanted: Wanted | None) -> FieldStep:
        kind = each.type
        if not isinstance(kind, Message):
            act, of = Act.LIST if each.is_repeated else Act.SINGLE, kind or each.kind
            read = reader(of, self.walk)
            return FieldStep(act, name, of, read, kept=each.has_presence, among=among)
        if each.is_map:
            entry = self._bare(kind)
            entry.numbers = EVERY  # some readers leave out an entry with a field that they do not know
            return FieldStep(Act.ENTRY, name, inner=entry, zero=tuple(map(_zero, kind.fields)))
        if kind.wrapper:
            act = Act.WRAPS if each.is_repeated else Act.WRAPPED
            return FieldStep(act, name, among=among, inner=self._bare(kind), zero=_zero(kind.fields[0]))
        inner = self.table(kind, None if each.is_repeated else wanted)
        number = each.number if each.kind == "group" else 0
        return FieldStep(
            Act.MESSAGES if each.is_repeated else Act.MESSAGE, name, among=among, inner=inner, number=number
        )

    def _bare(self, message: Message) -> MessageTable:
        """How a wrapper is read, or an entry of a map: its fields have defaults only where it is used."""
        return self.table(
            Message([each._replace(has_presence=True, default=None) for each in message.fields]), None
        )


def _default(each: Field, step: FieldStep, wanted: Wanted | None) -> Any:
    """What readers find in a field that is absent; None for what counts as missing."""
    if step.inner is not None:
        is_path = wanted is not None and step.act is Act.MESSAGE
        return dict(step.inner.defaults) or None if is_path else None
    if isinstance(each.type, Enum) and not each.has_presence:
        return each.type.first
    return each.default


def _zero(each: Field) -> Any:
    """What a wrapper, or the entry of a map, has where its field is absent."""
    if isinstance(each.type, Message):
        return _zero(each.type.fields[0]) if each.type.wrapper else None
    return each.type.first if isinstance(each.type, Enum) else _ZEROS.get(each.kind, 0)


# The others are VARINT.
_WIRES = {
    **dict.fromkeys(("fixed64", "sfixed64", "double"), FIXED64),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), FIXED32),
    **dict.fromkeys(("string", "bytes", "message"), LENGTH),
    "group": START,
}
_ZEROS: Mapping[str, Any] = {"string": "", "bytes": "", "bool": False}
