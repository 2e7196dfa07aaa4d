"""A lead in Avro with a field of every type, and what becomes of its bytes on the way."""

from tests.support.fakes.registry import written
from tests.support.fakes.scrubbers import NUMBER, OTHER

CONTACT = {"type": "record", "name": "Contact", "fields": [{"name": "mobile", "type": ["null", "string"]}]}
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "next", "type": ["null", "Node"]}, {"name": "size", "type": "int"}],
}
LEAD = {
    "type": "record",
    "name": "Lead",
    "namespace": "org.example",
    "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "Md5", "size": 16}},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string", "int"]}},
        {"name": "consents", "type": {"type": "map", "values": {"type": "array", "items": "boolean"}}},
        {"name": "trace", "type": NODE},
        {"name": "phone", "type": "string"},
        {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}},
        {"name": "contact", "type": ["null", CONTACT]},
        {"name": "score", "type": ["double", "float", "null"]},
        {"name": "photo", "type": ["null", "bytes"]},
        {"name": "again", "type": ["null", "Md5"]},
        {"name": "country", "type": ["null", "string"]},
    ],
}
RECORD = {
    "id": b"0123456789abcdef",
    "tags": ["new", None, 7],
    "consents": {"mail": [True, False], "phone": []},
    "trace": {"next": {"next": None, "size": 2}, "size": 1},
    "phone": f"+{OTHER}",
    "level": "HIGH",
    "contact": {"mobile": f"+{NUMBER}"},
    "score": 0.5,
    "photo": b"\xff\x00" * 70,
    "again": None,
    "country": "FR",
}
GOOD = written(LEAD, RECORD)


def broken(value, chance):
    """The value with some bytes changed, cut out, doubled or cut off."""
    made = bytearray(value)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del made[at : at + chance.randrange(1, 9)]
            case 2:
                made[at:at] = made[at : at + chance.randrange(1, 9)]
            case 3:
                made[at:at] = bytes([0x80 | chance.randrange(128)] * chance.randrange(1, 11))
            case 4:
                del made[at:]
    return bytes(made)
