"""Rows of a file as records in Avro by the latest schema of a topic."""

import io

import fastavro
import pytest

from stream_scrub.config.registry import Registry
from stream_scrub.errors import Refused
from stream_scrub.registry.client import RegistryClient
from stream_scrub.registry.writer import encoder
from tests.support.fakes.registry import FakeRegistry
from tests.support.fakes.web import Web

NUMBER = "+33612345678"


@pytest.fixture
def encode():
    """The function that writes a row with a phone of that type."""
    registry = FakeRegistry()
    with Web(registry) as web:

        def made(type_):
            schema = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": type_}]}
            registry.add(schema, subject="leads-value")
            client = RegistryClient(Registry(url=web.url))
            return schema, encoder(client, "leads", ["phone"], ["phone"], ["phone"])

        yield made


@pytest.mark.parametrize(
    "type_",
    [
        {"type": "array", "items": "string"},
        {"type": "map", "values": "string"},
        {"type": "record", "name": "Phone", "fields": [{"name": "text", "type": "string", "default": ""}]},
        "int",
    ],
)
def test_a_cell_that_the_schema_has_no_place_for_is_refused(encode, type_):
    """A number would become a list of its digits, none at all or another one, or the command would crash in the file."""
    _, write = encode(type_)
    with pytest.raises(Refused, match="line 7 does not fit") as caught:
        write({"phone": NUMBER}, 7)
    assert NUMBER not in str(caught.value)


@pytest.mark.parametrize(
    "type_", ["string", ["null", "string"], "long", {"type": "array", "items": "string"}]
)
def test_a_cell_that_fits_is_written(encode, type_):
    """Rows would not become leads."""
    schema, write = encode(type_)
    cell = [NUMBER] if isinstance(type_, dict) else NUMBER
    value = io.BytesIO(write({"phone": cell}, 1)[5:])
    read = fastavro.schemaless_reader(value, schema)["phone"]
    assert str(read).strip("[']") in NUMBER and "33612345678" in str(read)
