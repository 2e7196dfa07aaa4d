"""A lead in Protobuf with fields of many types, by its schema's tables."""

from stream_scrub.scrub.protobuf import Enum, Field, Message
from tests.support.fakes.protobuf import plain, sized, tag
from tests.support.fakes.scrubbers import NUMBER, OTHER

LEVEL = Enum({0: "LOW", 1: "HIGH"}, "LOW", closed=False)
REACH = ["phone", "mail"]
CONTACT = Message([Field("mobile", "mobile", 1, "string"), Field("note", "note", 2, "bytes")])
WRAPPER = Message([Field("value", "value", 1, "string", has_presence=False)], wrapper=True)
CALL = Message([Field("purpose", "purpose", 1, "enum", has_presence=False, type=LEVEL)])
LEAD = Message(
    [
        Field("id", "id", 1, "fixed64"),
        Field("tags", "tags", 2, "sint32", is_repeated=True),
        Field("phone", "phone", 3, "string", among=REACH),
        Field("mail", "mail", 4, "bytes", among=REACH),
        Field("contact", "contact", 5, "group", type=CONTACT),
        Field("country", "country", 6, "message", type=WRAPPER),
        Field("call", "call", 2000, "message", type=CALL),
        Field("trace", "trace", 8, "message", is_repeated=True, type=CONTACT),
    ]
)
GOOD = tag(1, 1) + b"01234567" + sized(2, b"\1\x80\1") + plain(2, 7) + sized(3, f"+{OTHER}".encode())
GOOD += tag(5, 3) + sized(1, f"+{NUMBER}".encode()) + sized(2, b"\xff\0" * 70) + tag(5, 4)
GOOD += (
    sized(6, sized(1, b"FR")) + sized(2000, plain(1, 1)) + sized(8, b"") + tag(9, 3) + plain(1, 1) + tag(9, 4)
)
