"""TLS: only what is encrypted is answered, and a renewed certificate counts without a restart."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trustme

from stream_scrub.config import Http, load
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.serve.serving import Certificate
from tests.unit.serve.conftest import CONSENTING


def issued(folder: Path, authority: trustme.CA, **how: object) -> dict[str, str]:
    """A certificate for localhost as files."""
    made = authority.issue_cert("localhost", "127.0.0.1", **how)
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return {"http__tls_cert": str(folder / "cert.pem"), "http__tls_key": str(folder / "key.pem")}


def client(server, authority: trustme.CA) -> httpx.Client:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return httpx.Client(base_url=f"https://localhost:{server.port}", verify=context, timeout=60)


def test_answers_are_encrypted_and_a_renewed_certificate_counts(serve, lists, tmp_path):
    """Numbers would travel in the clear; or every renewal would need somebody at night."""
    old, new = trustme.CA(), trustme.CA()
    server = serve(lists, ready=False, **issued(tmp_path, old))
    with client(server, old) as asking:
        server.until(lambda: asking.get("/readyz").status_code == 200)
        assert asking.post("/v1/check", json={"number": CONSENTING}).json()["reason"] == "consented"
        with pytest.raises(httpx.TransportError):
            server.client.get("/livez")
        for scheme, status in (("https", 200), ("http", 403)):
            origin = {"Origin": f"{scheme}://localhost:{server.port}"}
            sent = asking.post("/check", data={"number": str(CONSENTING)}, headers=origin)
            assert sent.status_code == status, "a page that came in the clear may be anybody's"

        (tmp_path / "cert.pem").write_text("half")  # a renewal that is under way, or went wrong
        server.until(
            lambda: any(each["event"].startswith("new certificate unusable") for each in server.lines())
        )
        with client(server, old) as again:
            assert again.get("/livez").status_code == 200

        issued(tmp_path, new)

        def renewed() -> bool:
            try:
                with client(server, new) as fresh:
                    return fresh.get("/livez").status_code == 200
            except httpx.ConnectError:
                return False

        server.until(renewed)
        assert asking.get("/livez").status_code == 200, "an open connection goes on"
    assert any(each["event"] == "new certificate in use" for each in server.lines())


def test_a_lapsed_certificate_is_no_verdict(serve, lists, tmp_path):
    """A client would go on without encryption, or take silence for a permission."""
    authority = trustme.CA()
    server = serve(
        lists, ready=False, **issued(tmp_path, authority, not_after=datetime(2026, 1, 1, tzinfo=UTC))
    )
    with client(server, authority) as asking, pytest.raises(httpx.ConnectError, match="expired"):
        asking.post("/v1/check", json={"number": CONSENTING})


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path):
    """It would seem to serve, and no client could connect."""
    files = issued(tmp_path, trustme.CA())
    (tmp_path / "key.pem").write_bytes(b"no key")
    wrong = Http(tls_cert=files["http__tls_cert"], tls_key=files["http__tls_key"])
    with pytest.raises(Refused, match="not a certificate"):
        Certificate(wrong, lambda _: None)
    with pytest.raises(Refused, match="cannot be read"):
        Certificate(Http(tls_cert=str(tmp_path / "x"), tls_key=str(tmp_path / "y")), lambda _: None)
    with pytest.raises(ConfigError, match="both"):
        load(flags={"http.tls_cert": "cert.pem"}, environ={})
