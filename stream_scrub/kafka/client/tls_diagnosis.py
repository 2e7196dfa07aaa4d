"""Why a broker and a client do not trust each other's certificates, found out by a TLS handshake of our own.

librdkafka says that a broker's certificate could not be verified, or that there was an alert about its own; it does not
say that one of them has lapsed. The handshake is made once, when a connection was refused, by a thread that may wait.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_WAIT_S = 3.0
_OWN = "ssl.certificate.location"
_VERSION = 0xA0
_UTC_TIME = 0x17  # with two digits of the year; what is not that has four


def distrust(server: str, client: Mapping[str, Any], now: datetime | None = None) -> str:
    """What is wrong with the broker's certificate or the client's own, in words; empty when that was not found out.

    `server` is host:port, `client` are client properties. Blocks for a few seconds at most, raises nothing.
    """
    ended = None
    with suppress(OSError, ValueError, IndexError):
        ended = expires(_pem(client, "ssl.certificate") or "")
    if ended is not None and ended < (now or datetime.now(UTC)):
        return f"this client's own certificate ({_OWN}) expired at {ended:%Y-%m-%dT%H:%M:%SZ}"
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        context = _context(client)
        with (
            socket.create_connection((host, int(port)), timeout=_WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.recv(1)  # with TLS 1.3 the broker looks at our certificate after the handshake
    except ssl.SSLCertVerificationError as error:
        return f"the broker's certificate is not trusted (ssl.ca.location): {error.verify_message}"
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return f"the broker does not accept this client's own certificate ({_OWN}): {_words(error)}"
    except (OSError, ValueError):
        pass
    return ""


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()


def _context(client: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = client.get("ssl.endpoint.identification.algorithm", "https") != "none"
    trusted = _pem(client, "ssl.ca")
    if trusted is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=trusted)
    certificate, key = client.get("ssl.certificate.location"), client.get("ssl.key.location")
    if certificate and key:
        context.load_cert_chain(certificate, key, client.get("ssl.key.password"))
    return context


def _pem(client: Mapping[str, Any], what: str) -> str | None:
    """The certificates that `<what>.pem` holds, or the file that `<what>.location` names."""
    if text := client.get(f"{what}.pem"):
        return str(text)
    file = client.get(f"{what}.location")
    return Path(file).read_text() if file else None


def expires(pem: str) -> datetime | None:
    """When the first certificate of a text ends; None without one. Raises ValueError, IndexError."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem:
        return None
    first = begin + pem.partition(begin)[2].partition(end)[0] + end
    # Certificate, TBSCertificate; then version (if any), serial number, algorithm, issuer, and validity (RFC 5280).
    inside = _inside(_inside(ssl.PEM_cert_to_DER_cert(first)))
    for _ in range(4 if inside[0] == _VERSION else 3):
        inside = _after(inside)
    kind_at = _after(_inside(inside))
    digits = _inside(kind_at).decode("ascii").removesuffix("Z")
    century = "" if kind_at[0] != _UTC_TIME else "20" if digits < "5" else "19"
    return datetime.strptime(century + digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _bounds(der: bytes) -> tuple[int, int]:
    """Where the content of the first element begins and ends."""
    length = der[1]
    if length < 0x80:
        return 2, 2 + length
    size = length & 0x7F
    return 2 + size, 2 + size + int.from_bytes(der[2 : 2 + size], "big")


def _inside(der: bytes) -> bytes:
    begin, end = _bounds(der)
    return der[begin:end]


def _after(der: bytes) -> bytes:
    return der[_bounds(der)[1] :]
