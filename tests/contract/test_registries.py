"""Registries that share no code with ours answer as our client expects: franz-go's and Apicurio's."""

import json

import httpx
import pytest

from stream_scrub.config.registry import Registry
from stream_scrub.errors import Refused
from stream_scrub.extension import extension
from stream_scrub.ops.logs import configure
from stream_scrub.registry.client import RegistryClient
from stream_scrub.registry.records import RegistryRecords
from stream_scrub.registry.writer import encoder
from tests.registries import running
from tests.support.fakes.registry import by_guid, numbered
from tests.support.fakes.scrubbers import MEMBERS

if extension() is None:
    pytest.skip("the extension is not installed", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.process]

PHONE = {
    "type": "record",
    "name": "Phone",
    "namespace": "org",
    "fields": [{"name": "number", "type": "string"}],
}
LEAD = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": "org.Phone"}]}


@pytest.fixture(scope="module", params=["srfake", "apicurio"])
def url(request):
    with getattr(running, request.param)() as url:
        yield url


@pytest.fixture
def client(url):
    client = RegistryClient(Registry(url=url, timeout_s=30))
    yield client
    client.close()


def test_rows_are_registered_written_and_read(client, tmp_path):
    """Rows that `produce` put on the topic would be unreadable for workers, and their schema registered again each time."""
    encode = encoder(client, "prospects", ["phone"], ["phone", "country"], ["phone", "Note é", "country"])
    again = encoder(client, "prospects", ["phone"], ["phone", "country"], ["phone", "country"])
    values = [each({"phone": "0612345678", "country": "FR", "Note é": "x"}, 1) for each in (encode, again)]

    with (tmp_path / "log").open("wb") as log:
        records = RegistryRecords(client, "avro", MEMBERS, configure("info", "json", log))
        read = records.read([*values, numbered(99_999, b""), by_guid(7, b"")], [None] * 4)
    assert read == [b'{"phone":"0612345678","country":"FR"}'] * 2 + [None] * 2
    assert values[0][:5] == values[1][:5]
    number, schema = client.latest("prospects-value")
    assert client.schema(number.to_bytes(4, "big")) == schema
    assert client.latest("leads-value") is None


def test_a_schema_comes_with_what_it_refers_to(client, url):
    """Leads whose schema uses another one would be unreadable."""
    client.register("org.Phone", json.dumps(PHONE))
    refers = [{"name": "org.Phone", "subject": "org.Phone", "version": 1}]
    lead = {"schema": json.dumps(LEAD), "schemaType": "AVRO", "references": refers}
    number = httpx.post(f"{url}/subjects/leads-of-phones/versions", json=lead).raise_for_status().json()["id"]

    schema = client.schema(number.to_bytes(4, "big"))
    assert json.loads(schema.text) == LEAD
    assert [json.loads(each.text) for each in schema.references] == [PHONE]


@pytest.mark.parametrize("url", ["apicurio"], indirect=True)  # the other one takes any text
def test_what_is_no_schema_is_refused(client):
    """A mistake in a registry's rules would be taken for an outage, and `produce` be run again and again."""
    with pytest.raises(Refused, match="does not register"):
        client.register("broken", '{"type":"nonsense"}')
