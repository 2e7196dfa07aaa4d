"""Why a broker and a client do not trust each other, told apart by a real TLS server."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from stream_scrub.kafka.client.client_log import distrust, expires

NOW = datetime.now(UTC)
CA, OTHER = trustme.CA(), trustme.CA()
LAPSED = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}


@contextmanager
def server(issued: trustme.LeafCert, *, wants: trustme.CA | None = None) -> Iterator[str]:
    """A TLS server that answers handshakes and nothing else; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    if wants is not None:
        wants.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(60)

    def serve() -> None:
        try:
            taken, _ = listening.accept()
            with taken, context.wrap_socket(taken, server_side=True) as secured:
                secured.recv(1)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listening.getsockname()[1]}"
    thread.join(60)
    listening.close()


def client(folder, ca: trustme.CA, own: trustme.LeafCert | None = None) -> dict[str, str]:
    """Client properties of whoever trusts that CA, and has that certificate."""
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    found = {"security.protocol": "ssl", "ssl.ca.location": str(folder / "ca.pem")}
    if own is not None:
        own.cert_chain_pems[0].write_to_path(str(folder / "own.crt"))
        own.private_key_pem.write_to_path(str(folder / "own.key"))
        found |= {
            "ssl.certificate.location": str(folder / "own.crt"),
            "ssl.key.location": str(folder / "own.key"),
        }
    return found


def test_a_lapsed_certificate_of_the_broker_is_told_from_an_unknown_ca(tmp_path):
    """At night somebody would change what clients trust, and the broker's certificate would be as old as before."""
    with server(CA.issue_cert("127.0.0.1", **LAPSED)) as at:
        lapsed = distrust(at, client(tmp_path, CA))
    with server(CA.issue_cert("127.0.0.1")) as at:
        unknown = distrust(at, client(tmp_path, OTHER))
    with server(CA.issue_cert("kafka.example.org")) as at:
        misnamed = distrust(at, client(tmp_path, CA))
    assert "broker's certificate" in lapsed and "expired" in lapsed
    assert "broker's certificate" in unknown and "ssl.ca.location" in unknown and "expired" not in unknown
    assert "IP address mismatch" in misnamed


def test_one_s_own_certificate_is_told_from_the_broker_s(tmp_path):
    """The wrong certificate would be renewed."""
    gone = CA.issue_cert("worker", **LAPSED)
    assert distrust("127.0.0.1:1", client(tmp_path, CA, gone)) == (
        "this client's own certificate (ssl.certificate.location) expired at "
        f"{LAPSED['not_after']:%Y-%m-%dT%H:%M:%SZ}"
    )
    with server(CA.issue_cert("127.0.0.1"), wants=CA) as at:
        foreign = distrust(at, client(tmp_path, CA, OTHER.issue_cert("worker")))
    assert "own certificate (ssl.certificate.location)" in foreign and "unknown ca" in foreign
    with server(CA.issue_cert("127.0.0.1"), wants=CA) as at:
        none = distrust(at, client(tmp_path, CA))
    assert "own certificate (ssl.certificate.location)" in none and "required" in none


def test_what_is_well_or_cannot_be_asked_is_not_accused(tmp_path):
    """A diagnosis that is wrong costs more than none."""
    with server(CA.issue_cert("127.0.0.1"), wants=CA) as at:
        assert distrust(at, client(tmp_path, CA, CA.issue_cert("worker"))) == ""
    assert distrust("127.0.0.1:1", client(tmp_path, CA)) == ""
    assert distrust("no address", {"ssl.ca.location": str(tmp_path / "absent")}) == ""
    assert distrust("127.0.0.1:1", {"ssl.certificate.pem": "-----BEGIN CERTIFICATE-----\nAAAA"}) == ""


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2999])
def test_the_end_of_a_certificate_is_read_from_its_bytes(year):
    """A certificate that is good for years would be called expired, or the other way round."""
    end = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC)
    issued = CA.issue_cert("worker", not_before=datetime(1990, 1, 1, tzinfo=UTC), not_after=end)
    assert expires(issued.cert_chain_pems[0].bytes().decode()) == end
    assert expires("no certificate") is None
