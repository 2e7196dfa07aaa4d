"""What a registry answers, and what its absence looks like."""

import gzip
import json
import ssl
import time
import tracemalloc
import uuid

import pytest
import trustme

from stream_scrub.config.registry import Registry
from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.registry.client import RegistryClient
from tests.support.fakes.registry import FakeRegistry
from tests.support.fakes.web import Web
from tests.support.network.dripping import dripping

LEAD = {"type": "record", "name": "Lead", "fields": [{"name": "phone", "type": "org.Phone"}]}
PHONE = {
    "type": "record",
    "name": "Phone",
    "namespace": "org",
    "fields": [{"name": "number", "type": "Digits"}],
}
DIGITS = {"type": "fixed", "name": "Digits", "namespace": "org", "size": 11}


def number(at):
    return at.to_bytes(4, "big")


@pytest.fixture
def registry():
    return FakeRegistry()


@pytest.fixture
def web(registry):
    with Web(registry) as web:
        yield web


def client(web, **settings):
    return RegistryClient(Registry(url=web.url, **settings))


def test_a_schema_comes_with_all_that_it_refers_to_in_order(web, registry):
    """Every lead whose schema uses another one would be unreadable."""
    registry.add(DIGITS, subject="org.Digits")
    registry.add(PHONE, subject="org.Phone", refers=["org.Digits"])
    at = registry.add(LEAD, refers=["org.Phone", "org.Digits"])

    schema = client(web).schema(number(at))

    assert [json.loads(each.text)["name"] for each in schema.references] == ["Digits", "Phone"]
    assert [each.name for each in schema.references] == ["org.Digits", "org.Phone"]
    assert (json.loads(schema.text), schema.type) == (LEAD, "AVRO")
    assert client(web).schema(uuid.UUID(int=at).bytes) == schema


@pytest.mark.parametrize("refers", [["a"], ["missing"]], ids=["circular", "missing"])
def test_a_schema_that_refers_to_itself_or_to_nothing_is_none(web, registry, refers):
    """A worker would ask the registry for ever, and emit nothing."""
    registry.add(LEAD, subject="a", refers=refers)
    assert client(web).schema(number(1)) is None


@pytest.mark.parametrize("schema_id", [number(7), uuid.UUID(int=7).bytes])
def test_a_registry_that_does_not_know_an_id_says_so(web, registry, schema_id):
    """One wrong record would hold the worker for ever."""
    assert client(web).schema(schema_id) is None
    registry.knows_guids = False
    assert client(web).schema(schema_id) is None


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"<html>404 Not Found</html>"),
        (404, b'{"error_code":404}'),
        (200, b"<html>Log in</html>"),
        (200, b'{"schema":1}'),
        (200, b"[" * 100_000),
        (200, b"<html>" + b"x" * (3 << 20)),
        (302, b""),
        (401, b'{"error_code":401}'),
        (429, b""),
        (500, b'{"error_code":50001}'),
    ],
)
def test_an_answer_that_is_not_a_registrys_is_no_news_of_a_schema(web, answer):
    """While a proxy answers for the registry, all leads would come out blocked."""
    web.answer = lambda _: answer
    web.headers = {"location": "/elsewhere"}
    with pytest.raises(Unavailable, match="registry http://127"):
        client(web).schema(number(1))
    web.__exit__()
    with pytest.raises(Unavailable, match="does not answer"):
        client(web).schema(number(1))


def test_a_schema_that_is_too_large_is_of_no_type(web):
    """One schema would hold each worker that meets it for ever."""
    web.answer = lambda _: (200, b'{"schema":"' + b"x" * (3 << 20) + b'"}')
    assert client(web).schema(number(1)).type == "too large"


def test_a_latest_schema_that_cannot_be_read_is_not_taken_for_none(web, registry):
    """`produce` would register its own schema in place of the producer's."""
    registry.add(LEAD, refers=["nothing"])
    with pytest.raises(Refused, match="latest schema of prospects-value"):
        client(web).latest("prospects-value")


def test_an_answer_that_is_packed_twice_is_not_unpacked(web, registry):
    """2.6 KB from a registry, or from somebody in front of it, would take the memory of each worker."""
    packed = gzip.compress(gzip.compress(b" " * 50_000_000))
    web.answer, web.headers = lambda _: (200, packed), {"content-encoding": "gzip, gzip"}
    tracemalloc.start()
    try:
        with pytest.raises(Unavailable, match="packs its answers"):
            client(web).schema(number(1))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert web.asked[0].headers["accept-encoding"] == "identity"


def test_references_that_are_too_large_together_are_none(web, registry):
    """A schema with a hundred large references would hold each worker for minutes, and so after each start."""
    for at in range(3):
        registry.add("x" * (1 << 20), subject=f"s{at}")
    registry.add(LEAD, refers=["s0"])
    registry.add(LEAD, refers=["s0", "s1", "s2"])
    assert client(web).schema(number(4)) is not None
    assert client(web).schema(number(5)) is None


def test_references_that_take_too_long_together_are_given_up(web, registry):
    """A schema with many references at a slow registry would make Kubernetes kill the worker, again and again."""
    for at in range(50):
        registry.add(DIGITS, subject=f"s{at}")
    registry.add(LEAD, refers=[f"s{at}" for at in range(50)])
    answer = web.answer

    def slowly(asked):
        time.sleep(0.05)
        return answer(asked)

    web.answer = slowly
    with pytest.raises(Unavailable):
        client(web, timeout_s=0.3).schema(number(51))
    assert len(web.asked) < 20


def test_headers_that_never_end_are_cut_at_the_deadline():
    """A registry that sends a byte now and then would hold the worker until it is taken for dead, and so after each start."""
    with dripping(0.05) as (url, ended):
        with pytest.raises(Unavailable):
            RegistryClient(Registry(url=url, timeout_s=0.3)).schema(number(1))
        assert not ended.is_set()


def test_a_secret_is_read_anew_for_each_request(web, registry, tmp_path):
    """After a rotation every worker would have to be restarted."""
    registry.add(LEAD)
    secret = tmp_path / "secret"
    secret.write_text("old\n")
    by_token = client(web, token_file=str(secret))
    by_password = client(web, user="scrub", password_file=str(secret))
    registry.authorization = "Bearer new"
    with pytest.raises(Unavailable, match="401"):
        by_token.schema(number(1))
    secret.write_text("new\n")
    assert by_token.schema(number(1)) is not None
    registry.authorization = "Basic c2NydWI6bmV3"
    assert by_password.schema(number(1)) is not None
    secret.write_text("two\nlines")
    with pytest.raises(Unavailable, match="secret") as refused:
        by_token.schema(number(1))
    assert "lines" not in str(refused.value)
    secret.unlink()
    with pytest.raises(Unavailable, match="secret"):
        by_token.schema(number(1))


def test_only_the_registry_of_the_configured_authority_is_believed(web, registry, tmp_path):
    """Somebody between us and the registry would say by which schema leads are read."""
    registry.add(LEAD)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    web._server.socket = context.wrap_socket(web._server.socket, server_side=True)
    url = web.url.replace("http:", "https:")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    assert RegistryClient(Registry(url=url, ca=str(tmp_path / "ca.pem"))).schema(number(1)) is not None
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        RegistryClient(Registry(url=url, ca=str(tmp_path / "other.pem"))).schema(number(1))
    for wrong in ("none.pem", ""):
        (tmp_path / "empty.pem").write_text("")
        with pytest.raises(ConfigError, match=r"registry\.ca"):
            RegistryClient(Registry(url=url, ca=str(tmp_path / (wrong or "empty.pem"))))
