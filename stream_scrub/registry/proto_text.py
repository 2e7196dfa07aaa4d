"""Reads a schema in Protobuf as it is written (proto2, proto3) into a descriptor, as protoc does.

Every registry gives this text; descriptors come only from some, and not from all of these intact. Names are resolved, and
most rules checked, where descriptors are linked (`registry/protobuf.py`). Options are passed over if no value depends on them.
"""

import re
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from stream_scrub.scrub.decode import Unreadable

_TOKEN = re.compile(
    r"""(?:\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\.?[0-9](?:[eE][+-]|[A-Za-z0-9_.])*)
    |(?P<sign>[][{}()<>;,=.:+/-])""",
    re.DOTALL | re.VERBOSE,
)
_LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
}
_SCALARS: Final = {
    name.removeprefix("TYPE_").lower(): number
    for name, number in FieldDescriptorProto.Type.items()
    if name not in {"TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP"}
}
_NOT_DECIMAL = re.compile("0[xX][0-9a-fA-F]+|0[0-7]+")
_CLOSED_BY = {"{": "}", "[": "]", "(": ")", "<": ">"}


def file_of(text: str) -> FileDescriptorProto:
    """The descriptor, without a name. Raises Unreadable, RecursionError."""
    return _Parser(text).file()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(f"not Protobuf near character {at}")
        if match.lastgroup:
            yield match[0]
        at = match.end()


class _Parser:
    """Goes through the tokens once."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ""]
        self._at = 0
        self._syntax = "proto2"

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self) -> str:
        token = self._next
        if not token:
            raise Unreadable("not Protobuf: it ends too early")
        self._at += 1
        return token

    def _is(self, token: str) -> bool:
        if self._next != token:
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._is(token):
            raise Unreadable(f"not Protobuf: {self._next[:20]!r} instead of {token!r}")

    def _word(self) -> str:
        word = self._take()
        if not (word[0].isalpha() or word[0] == "_"):
            raise Unreadable(f"not Protobuf: {word[:20]!r} is no name")
        return word

    def _path(self) -> str:
        path = "." if self._is(".") else ""
        path += self._word()
        while self._is("."):
            path += f".{self._word()}"
        return path

    def _string(self) -> str:
        text = ""
        while self._next[:1] in {'"', "'"}:
            text += self._take()[1:-1]
        if "\\" in text:
            raise Unreadable("an escape in a text that counts")
        return text

    def _integer(self) -> int:
        sign = -1 if self._is("-") else 1
        text = self._take()
        try:
            octal = text.isdigit() and text[0] == "0"
            return sign * int(text, 8 if octal else 0)
        except ValueError as error:
            raise Unreadable(f"not Protobuf: {text[:20]!r} is no integer") from error

    def _past(self, end: str) -> None:
        """Go behind a sign outside of all brackets."""
        closed_by: list[str] = []
        while (token := self._take()) != end or closed_by:
            if closed_by and token == closed_by[-1]:
                closed_by.pop()
            elif token in _CLOSED_BY:
                closed_by.append(_CLOSED_BY[token])

    def _block(self) -> None:
        """Go behind extensions or services: no value depends on them."""
        begin = self._at
        self._past("{")
        self._past("}")
        if "group" in self._tokens[begin : self._at]:
            raise Unreadable("a group in an extension: it would count among the messages")

    def file(self) -> FileDescriptorProto:
        """The whole text."""
        made = FileDescriptorProto()
        while self._next:
            match word := self._take():
                case ";":
                    pass
                case "syntax":
                    self._expect("=")
                    made.syntax = self._syntax = self._string()
                    self._expect(";")
                case "package":
                    made.package = self._path()
                    self._expect(";")
                case "import":
                    self._import(made)
                case "option":
                    self._past(";")
                case "message":
                    self._message(made.message_type.add())
                case "enum":
                    self._enum(made.enum_type.add())
                case "service" | "extend":
                    self._block()
                case _:
                    raise Unreadable(f"not proto2 or proto3: {word[:20]!r}")
        return made

    def _import(self, made: FileDescriptorProto) -> None:
        if self._is("public"):
            made.public_dependency.append(len(made.dependency))
        else:
            self._is("weak")
        made.dependency.append(self._string())
        self._expect(";")

    def _message(self, made: DescriptorProto) -> None:
        made.name = self._word()
        self._body(made)
        for each in made.field:  # after the oneofs that are written
            if each.proto3_optional:
                each.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{each.name}")

    def _body(self, made: DescriptorProto) -> None:
        self._expect("{")
        while not self._is("}"):
            match self._next:
                case "message":
                    self._take()
                    self._message(made.nested_type.add())
                case "enum":
                    self._take()
                    self._enum(made.enum_type.add())
                case "extend":
                    self._block()
                case "extensions" | "reserved" | "option":
                    self._past(";")
                case "oneof":
                    self._take()
                    self._oneof(made)
                case ";":
                    self._take()
                case _:
                    self._field(made)

    def _oneof(self, made: DescriptorProto) -> None:
        place = len(made.oneof_decl)
        made.oneof_decl.add(name=self._word())
        self._expect("{")
        while not self._is("}"):
            if self._next == "option":
                self._past(";")
            elif self._next in _LABELS or self._is_map:
                raise Unreadable("not Protobuf: a label or a map in a oneof")
            else:
                self._field(made).oneof_index = place

    def _field(self, made: DescriptorProto) -> FieldDescriptorProto:
        label = self._take() if self._next in _LABELS else ""
        each = made.field.add(label=_LABELS[label or "optional"])
        each.proto3_optional = self._syntax == "proto3" and label == "optional"
        if self._is_map and not label:
            self._map(made, each)
        elif self._is("group"):
            return self._group(made, each)
        else:
            self._type(each)
            each.name = self._word()
        self._number(each)
        self._expect(";")
        return each

    @property
    def _is_map(self) -> bool:
        return self._tokens[self._at : self._at + 2] == ["map", "<"]

    def _type(self, each: FieldDescriptorProto) -> None:
        name = self._path()
        if name in _SCALARS:
            each.type = _SCALARS[name]
        else:
            each.type_name = name

    def _map(self, made: DescriptorProto, each: FieldDescriptorProto) -> None:
        entry = DescriptorProto()
        entry.options.map_entry = True
        self._take()
        self._expect("<")
        self._type(entry.field.add(name="key", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL))
        self._expect(",")
        self._type(entry.field.add(name="value", number=2, label=FieldDescriptorProto.LABEL_OPTIONAL))
        self._expect(">")
        each.name = self._word()
        entry.name = "".join(part[:1].upper() + part[1:] for part in each.name.split("_")) + "Entry"
        made.nested_type.append(entry)
        each.label, each.type, each.type_name = each.LABEL_REPEATED, each.TYPE_MESSAGE, entry.name

    def _group(self, made: DescriptorProto, each: FieldDescriptorProto) -> FieldDescriptorProto:
        inner = made.nested_type.add(name=self._word())
        each.name, each.type, each.type_name = inner.name.lower(), each.TYPE_GROUP, inner.name
        self._number(each)
        self._body(inner)
        return each

    def _number(self, each: FieldDescriptorProto) -> None:
        self._expect("=")
        number = self._integer()
        if not 0 < number < 1 << 29:
            raise Unreadable("not Protobuf: a field with a number that there is not")
        each.number = number
        if self._is("["):
            while not self._option(each):
                pass

    def _option(self, each: FieldDescriptorProto) -> bool:
        """Read one option of a field; whether it was the last one."""
        begin = self._at
        name = self._next
        if name in {"default", "json_name"} and self._tokens[begin + 1] == "=":
            self._at += 2
            if name == "json_name":
                each.json_name = self._string()
            else:
                each.default_value = self._default()
        while self._next not in {",", "]"}:
            token = self._take()
            if token in _CLOSED_BY:
                self._past(_CLOSED_BY[token])
        return self._take() == "]"

    def _default(self) -> str:
        if self._next[:1] in {'"', "'"}:
            return self._string()
        sign = "-" if self._is("-") else ""
        token = self._take()
        if _NOT_DECIMAL.fullmatch(token):  # descriptors have integers in decimal
            token = str(int(token, 0 if token[1] in "xX" else 8))
        return sign + token

    def _enum(self, made: EnumDescriptorProto) -> None:
        made.name = self._word()
        self._expect("{")
        while not self._is("}"):
            if self._next in {"option", "reserved"}:
                if self._tokens[self._at + 1 : self._at + 4] == ["allow_alias", "=", "true"]:
                    made.options.allow_alias = True
                self._past(";")
            elif not self._is(";"):
                name = self._word()
                self._expect("=")
                number = self._integer()
                if not -1 << 31 <= number < 1 << 31:
                    raise Unreadable("not Protobuf: a symbol with a number that there is not")
                made.value.add(name=name, number=number)
                self._past(";")
