"""How a secured Kafka is secured: certificates by a CA of its own, listeners for SCRAM and for client certificates, and
an authoriser that lets nobody do anything but the super user. Users, rights and client properties for the tests.
"""

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SCRAM, MTLS, LAPSED = "SCRAM", "MTLS", "LAPSED"
LISTENERS = {
    SCRAM: "SASL_SSL",
    MTLS: "SSL",
    LAPSED: "SASL_SSL",
}  # the last with a certificate that has expired
ADMIN = "admin"
_HOST = ("localhost", "127.0.0.1")
_MECHANISM = "SCRAM-SHA-512"
_JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_ITERATIONS = 4096
_TYPES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}


class Right(NamedTuple):
    """One operation on one resource, as a KafkaUser names them: (topic, prospects, False, Read)."""

    kind: str
    name: str
    prefix: bool
    operation: str

    def binding(self, user: str) -> AclBinding:
        """The ACL that gives it to a user."""
        words = re.findall("[A-Z][a-z]*", self.operation)
        return AclBinding(
            _TYPES[self.kind],
            self.name,
            ResourcePatternType.PREFIXED if self.prefix else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation["_".join(words).upper()],
            AclPermissionType.ALLOW,
        )


class Identity(NamedTuple):
    """A certificate chain and its key, as files."""

    certificate: Path
    key: Path

    @property
    def properties(self) -> dict[str, str]:
        """The client properties that present it."""
        return {"ssl.certificate.location": str(self.certificate), "ssl.key.location": str(self.key)}


class Security:
    """Everything secret of one Kafka, in a folder. Users are made on it while it runs, by the super user `admin`, whose
    proof is a certificate, as the brokers' own is.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self._broker = self._key_store(self.identity("broker"))
        self._lapsed = self._key_store(self.identity("broker", lapsed=True))

    @property
    def ca_file(self) -> Path:
        """What a client trusts."""
        return self._folder / "ca.pem"

    def identity(self, name: str, *, lapsed: bool = False, foreign: bool = False) -> Identity:
        """A certificate for whoever is called that: one that has expired yesterday, or that a CA has issued which nobody
        here knows.
        """
        ca = trustme.CA() if foreign else self._ca
        yesterday = datetime.now(UTC) - timedelta(days=1)
        end = {"not_before": yesterday - timedelta(days=30), "not_after": yesterday} if lapsed else {}
        issued = ca.issue_cert(*_HOST, common_name=name, **end)
        made = self._folder / f"{name}-{uuid.uuid4().hex[:6]}"
        found = Identity(made.with_suffix(".crt"), made.with_suffix(".key"))
        found.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        # PKCS#8 is the one form that Kafka reads as well.
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found

    def foreign_ca(self) -> Path:
        """The certificate of a CA that has issued nothing here."""
        file = self._folder / f"foreign-{uuid.uuid4().hex[:6]}.pem"
        trustme.CA().cert_pem.write_to_path(str(file))
        return file

    def _key_store(self, identity: Identity) -> Path:
        store = identity.certificate.with_suffix(".pem")
        store.write_bytes(identity.key.read_bytes() + identity.certificate.read_bytes())
        return store

    def broker_properties(self) -> dict[str, str]:
        """What server.properties says of it. Brokers and controllers know each other by certificates."""
        scram = {
            f"listener.name.{name.lower()}.{_MECHANISM.lower()}.sasl.jaas.config": _JAAS
            for name, protocol in LISTENERS.items()
            if protocol.startswith("SASL")
        }
        return scram | {
            "sasl.enabled.mechanisms": _MECHANISM,
            "inter.broker.listener.name": MTLS,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            f"listener.name.{MTLS.lower()}.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            f"listener.name.{LAPSED.lower()}.ssl.keystore.type": "PEM",
            f"listener.name.{LAPSED.lower()}.ssl.keystore.location": str(self._lapsed),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",  # the same name as by SCRAM
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:broker;User:{ADMIN}",
        }

    def scram(self, user: str, password: str = "", ca: Path | None = None) -> dict[str, str]:
        """Client properties of a user by password; unless given, the one that `add_user` gave."""
        return {
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": str(ca or self.ca_file),
            "sasl.mechanism": _MECHANISM,
            "sasl.username": user,
            "sasl.password": password or password_of(user),
        }

    def mtls(self, identity: Identity, ca: Path | None = None) -> dict[str, str]:
        """Client properties of whoever has that certificate."""
        return {
            "security.protocol": "ssl",
            "ssl.ca.location": str(ca or self.ca_file),
            **identity.properties,
        }


def password_of(user: str) -> str:
    """The password of a test's user."""
    return f"a word of {user}'s"


def add_user(admin: Mapping[str, str], user: str, rights: Iterable[Right]) -> None:
    """Make a user, by password and with exactly these rights. `admin` are the super user's client properties."""
    client = AdminClient({**admin, "log_level": "0"})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    wanted = UserScramCredentialUpsertion(user, info, password_of(user).encode())
    for made in client.alter_user_scram_credentials([wanted]).values():
        made.result()
    bindings = [right.binding(user) for right in rights]
    if bindings:
        for made in client.create_acls(bindings).values():
            made.result()
        in_force(client, set(bindings))


def in_force(client: AdminClient, rights: set[AclBinding], *, gone: bool = False) -> None:
    """Wait until the broker's authoriser has these rights (or has them no more): its answer comes before that."""
    every = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    until = time.monotonic() + 60
    while rights & set(client.describe_acls(every).result()) != (set() if gone else rights):
        assert time.monotonic() < until, "the authoriser was not told in time"
        time.sleep(0.02)
