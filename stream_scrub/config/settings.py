"""What can be set: sections, names, types, defaults, and which settings contradict each other. Frozen, and valid by
construction.

Durations and sizes carry their unit in their name. Nothing here reads a file or the environment.
"""

import re
import socket
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from stream_scrub.config.section import Section, contradiction
from stream_scrub.config.topics import Topics
from stream_scrub.model import CONSENT, INTERNAL, OWN, RegisterName, family
from stream_scrub.redaction import names_a_number
from stream_scrub.spelling import plain

_SERVER = re.compile(r"(?:\w+://)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:\[\],/]+)(?::(\d{1,5}))?")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _servers(value: str) -> str:
    for server in value.split(","):
        match = _SERVER.fullmatch(server.strip())
        if match is None or not 0 < int(match[1] or 9092) < 65536:
            raise ValueError("should be host:port, or several of them with commas between")
    return value


def _member(value: str) -> str:
    parts = value.split(".")
    if not all(part and part == part.strip() and part.isprintable() for part in parts):
        raise ValueError('should name a member, as in "phone" or "contact.phone"')
    if parts[0] == "scrub":
        raise ValueError('should not be "scrub": that is where the stamp goes')
    return value


def _members(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("should name at least one member, and each once")
    return values


def _registers(values: tuple[str, ...]) -> tuple[str, ...]:
    if not OWN.keys() <= set(values) or len(set(values)) < len(values):
        raise ValueError('should name "internal" and "consent", and every register once')
    names = list(map(RegisterName.parse, values))
    if not all(name is not None and not name.scope and name.base != "rules" for name in names):
        raise ValueError("should name registers without scopes: small letters, digits and hyphens")
    _need_no_number(names)
    return values


def _need_no_number(names: Iterable[RegisterName | None]) -> None:
    if any(name is not None and name.looks_like_number for name in names):
        raise ValueError("should hold no name that looks like a phone number: names are shown everywhere")


def _shares(values: tuple[str, ...]) -> tuple[str, ...]:
    pairs = [value.partition("=") for value in values]
    names = [RegisterName.parse(name) for name, _, _ in pairs]
    if None in names or not all(re.fullmatch(r"\d{1,6}(\.\d{1,6})?", share) for _, _, share in pairs):
        raise ValueError('should hold pairs of a register and its share, as in "bloctel=0.25"')
    _need_no_number(names)
    return values


def _named_registers(values: Mapping[str, str]) -> Mapping[str, str]:
    names = [RegisterName.parse(name) for name in values]
    if None in names:
        raise ValueError('should name registers, as in bloctel = "hold"')
    _need_no_number(names)
    return values


def _identity(value: str) -> str:
    name = value or socket.gethostname()
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(
            "should hold letters, digits, dots, underscores and hyphens only (empty: the host's name)"
        )
    return name


def _purpose(value: str) -> str:
    if len(value) > 80 or names_a_number(value):
        raise ValueError("should be a purpose, as in insurance, or empty")
    return value.strip()


def _campaign(value: str) -> str:
    name = plain(value)
    if value and (len(name) > 100 or RegisterName.parse(f"{CONSENT}@{name}") is None or names_a_number(name)):
        raise ValueError("should be a campaign in Latin letters and digits, as in acme, or empty")
    return name


def _shapes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if "#" not in value or len(value) > 64 or not value.isascii() or value != value.strip():
            raise ValueError(
                'should be shapes, each with a digit, as in ["C-#+"]: # is a digit, ? a letter or digit'
            )
    return values


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if value and (match is None or int(match[2]) > 65535):
        raise ValueError("should be host:port (port 0: any free one), or empty for none")
    return value


def address_of(listen: str) -> tuple[str, int] | None:
    """The host and port to listen on; None if nothing is to listen."""
    host, _, port = listen.rpartition(":")
    return (host.strip("[]"), int(port)) if host else None


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        match = _LISTEN.fullmatch(value)
        if match is None or not 0 < int(match[2]) <= 65535:
            raise ValueError('should be a list of host:port, as in ["worker:8080"]')
    return values


def _format(value: str) -> str:
    if value != "json":
        raise ValueError('should be "json": other formats are not implemented yet')
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _region(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", value):
        raise ValueError('should be an ISO 3166-1 code of two letters, as in "FR"')
    return value


Member = Annotated[str, AfterValidator(_member)]
Properties = Mapping[str, str]


# The topics that may forget, by their role. The log may not, and what a shadow finds is no part of the system.
KEPT = ("prospects", "allowed", "blocked", "recalled", "requests", "lifts", "refused")


def _keep_days(values: Mapping[str, int]) -> Mapping[str, int]:
    if not values.keys() <= set(KEPT):
        raise ValueError(f"should name topics by their role, as in blocked = 30: {', '.join(KEPT)}")
    return values


class Kafka(Section):
    """How to reach the brokers, and for how long they keep what."""

    bootstrap_servers: Annotated[str, AfterValidator(_servers)] = "localhost:9092"
    group_protocol: Literal["classic", "consumer"] = "classic"
    client: Properties = Field(default_factory=dict, repr=False)
    consumer: Properties = Field(default_factory=dict, repr=False)
    producer: Properties = Field(default_factory=dict, repr=False)
    keep_days: Annotated[Mapping[str, Annotated[int, Field(ge=1, le=36_500)]], AfterValidator(_keep_days)] = (
        Field(default_factory=dict)
    )


class Worker(Section):
    """The main job."""

    group_id: Annotated[str, Field(min_length=1)] = "stream-scrub"
    id: Annotated[str, AfterValidator(_identity)] = ""
    batch_records: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    batch_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 8_388_608
    batch_ms: Annotated[int, Field(ge=1, le=60_000)] = 50
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    state_dir: str = ""


# The members of a prospect besides its numbers.
_FACTS = (
    "region",
    "purpose",
    "contract",
    "campaign",
    "channel",
    "who",
    "relation",
    "voice_kind",
    "residence",
)


class ProspectSettings(Section):
    """Where a prospect keeps what the verdict needs, and where the stamp goes."""

    format: Annotated[str, AfterValidator(_format)] = "json"
    numbers: Annotated[tuple[Member, ...], Field(strict=False), AfterValidator(_members)] = ("phone",)
    region: Member = "country"
    default_region: Annotated[str, BeforeValidator(_upper), AfterValidator(_region)] = "FR"
    purpose: Member = "purpose"
    default_purpose: Annotated[str, AfterValidator(_purpose)] = ""
    contract: Member = "contract"
    contract_shapes: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_shapes)] = ()
    campaign: Member = "campaign"
    default_campaign: Annotated[str, AfterValidator(_campaign)] = ""
    channel: Member = "channel"
    who: Member = "who"
    relation: Member = "relation"
    voice_kind: Member = "voice_kind"
    residence: Member = "residence"
    case: Literal["any", "exact"] = "any"
    mixed: Literal["block", "strip"] = "block"
    stamp: Literal["value", "header"] = "value"

    @model_validator(mode="after")
    def _number_is_nothing_else(self) -> Self:
        for key in _FACTS:
            if getattr(self, key) in self.numbers:
                raise contradiction([key, "numbers"], "should name different members")
        return self

    @model_validator(mode="after")
    def _case_tells_nothing_apart(self) -> Self:
        spelled = {"scrub": "scrub"}
        for name in (*self.numbers, *(getattr(self, key) for key in _FACTS)):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                path = ".".join(parts[:depth])
                if self.case == "any" and spelled.setdefault(path.casefold(), path) != path:
                    raise contradiction(
                        ["case"],
                        'should be "exact" if two members, or a member and "scrub", differ in nothing but case',
                    )
        return self


class Rules(Section):
    """The country rules and how fresh the index must be."""

    folder: str = ""
    stale: Literal["hold", "block"] = "block"
    stale_by_register: Annotated[Mapping[str, Literal["hold", "block"]], AfterValidator(_named_registers)] = (
        Field(default_factory=dict)
    )
    index_lag_max_s: Annotated[float, Field(gt=0)] = 30
    clock_skew_max_s: Annotated[float, Field(ge=1)] = 60


class Lists(Section):
    """The guards on imports, where reading the log begins, how it is kept short, and what the publisher does."""

    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_change: Annotated[float, Field(ge=0)] = 0.1
    max_added: Annotated[int, Field(ge=0)] = 1_000_000
    max_numbers: Annotated[int, Field(ge=1)] = 10_000_000
    max_change_of: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_shares)] = ()
    full_every: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    max_scopes: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    read_max_mb: Annotated[int, Field(ge=16, le=1_000_000)] = 768
    read_max_s: Annotated[float, Field(ge=1, le=86_400)] = 900
    start: Literal["latest-full", "beginning"] = "latest-full"
    registers: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_registers)] = (
        INTERNAL,
        CONSENT,
    )
    consent_proof: Literal["kept", "required"] = "kept"
    ends: Literal["all", "own"] = "all"
    folder: str = ""
    keep_done_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    requests_group: Annotated[str, Field(min_length=1)] = "stream-scrub-publisher"
    batch_requests: Annotated[int, Field(ge=1, le=100_000)] = 5000
    batch_ms: Annotated[int, Field(ge=1, le=10_000)] = 100

    def change_allowed(self, register: str) -> float:
        """The largest share of the register's numbers that a full list may change."""
        shares = dict(pair.split("=") for pair in self.max_change_of)
        return float(shares.get(register) or shares.get(family(register)) or self.max_change)


class Http(Section):
    """Where health and metrics are served, and who may ask the check API."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8080"
    probes: Annotated[str, AfterValidator(_listen)] = ""
    tokens: str = ""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    rate_per_s: Annotated[float, Field(gt=0)] = 20_000
    watch: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_addresses)] = ()
    tls_cert: str = ""
    tls_key: str = ""

    @model_validator(mode="after")
    def _two_addresses(self) -> Self:
        address = address_of(self.probes)
        if self.listen == self.probes and address is not None and address[1]:
            raise contradiction(["listen", "probes"], "should be different addresses")
        return self

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise contradiction(["tls_cert", "tls_key"], "should both be given, or neither")
        return self

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody chose the address; False when it is the default."""
        return "listen" in self.model_fields_set


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Section):
    """Everything that can be set. An instance is always valid as a whole."""

    kafka: Kafka = Field(default_factory=Kafka)
    topics: Topics = Field(default_factory=Topics)
    worker: Worker = Field(default_factory=Worker)
    prospect: ProspectSettings = Field(default_factory=ProspectSettings)
    rules: Rules = Field(default_factory=Rules)
    lists: Lists = Field(default_factory=Lists)
    http: Http = Field(default_factory=Http)
    log: Log = Field(default_factory=Log)
