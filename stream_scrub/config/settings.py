"""The settings: sections, names, types, defaults, and contradictions between them. Frozen, and valid by construction.

Durations and sizes carry their unit in their name. Nothing here reads a file or the environment. pydantic checks; the
words of the problems are those of `sources`.
"""

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from stream_scrub.call import FACTS
from stream_scrub.config.evidence import EvidenceSettings
from stream_scrub.config.register_names import named_registers, opt_out_registers, own_registers, shares
from stream_scrub.config.registry import Registry
from stream_scrub.config.section import Section, contradiction
from stream_scrub.model import CONSENT, OWN, RegisterName, family
from stream_scrub.texts import names_a_number, plain

INPUT = "{input}"  # in the name of an output: the name of the input topic
PATTERN = "^"  # the first sign of an input that is a pattern of names
_BROKERS_OWN = "__"
_NAME = "[A-Za-z0-9._-]+"


class Route(NamedTuple):
    """One input topic and its two outputs."""

    input: str
    allowed: str
    blocked: str

    @property
    def outputs(self) -> tuple[str, str]:
        """The blocked topic and the allowed one, indexed by the verdict."""
        return self.blocked, self.allowed


def blocked_of(routes: Iterable[Route]) -> list[str]:
    """The topics of blocked prospects, each once."""
    return list(dict.fromkeys(route.blocked for route in routes))


def allowed_of(routes: Iterable[Route]) -> list[str]:
    """The topics of allowed prospects, each once."""
    return list(dict.fromkeys(route.allowed for route in routes))


def outputs_of(routes: Sequence[Route]) -> list[str]:
    """Every output topic once, blocked first."""
    return list(dict.fromkeys([*blocked_of(routes), *allowed_of(routes)]))


class Inputs:
    """The configured inputs. `others` are topics that are never read as prospects, even if the pattern matches them."""

    def __init__(self, names: Sequence[str], allowed: str, blocked: str, others: Iterable[str]) -> None:
        self.names = tuple(names)
        self.pattern = re.compile(names[0]) if names[0].startswith(PATTERN) else None
        self._allowed, self._blocked = allowed, blocked
        self._others = frozenset(others)
        self._forms = [
            re.compile(re.escape(each).replace(re.escape(INPUT), _NAME)) for each in (allowed, blocked)
        ]

    @property
    def several(self) -> bool:
        """Whether prospects may come from more than one topic."""
        return len(self.names) > 1 or self.pattern is not None

    @property
    def shared(self) -> bool:
        """Whether several inputs share an output: then each emitted record names its input in a header."""
        return self.several and not (INPUT in self._allowed and INPUT in self._blocked)

    def route(self, name: str) -> Route:
        """The route of one input topic."""
        return Route(name, self._allowed.replace(INPUT, name), self._blocked.replace(INPUT, name))

    def among(self, topics: Iterable[str]) -> list[Route]:
        """The input topics among the existing ones: all named ones, or those that the pattern matches. An output is never
        an input: prospects would circulate for ever."""
        if self.pattern is None:
            return [self.route(name) for name in self.names]
        return [self.route(name) for name in sorted(set(filter(self._matches, topics)))]

    def _matches(self, name: str) -> bool:
        assert self.pattern is not None, "there is a pattern"
        if name in self._others or name.startswith(_BROKERS_OWN) or self.verdict_of(name):
            return False
        return self.pattern.match(name) is not None

    def verdict_of(self, topic: str) -> str:
        """`allowed` or `blocked` for the name of an output, empty for any other."""
        for verdict, form in zip(("allowed", "blocked"), self._forms, strict=True):
            if form.fullmatch(topic):
                return verdict
        return ""

    def __str__(self) -> str:
        return ", ".join(self.names)


def _topic(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise ValueError(
            "should be a Kafka topic name: 1 to 249 letters, digits, dots, underscores and hyphens"
        )
    return value


def _listed(value: object) -> object:
    """A text with commas is a list of names, unless it is a pattern."""
    if isinstance(value, str) and "," in value and not value.startswith(PATTERN):
        return tuple(part.strip() for part in value.split(","))
    return tuple(value) if isinstance(value, list) else value


def _input_names(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not names or len(set(names)) < len(names):
        raise ValueError("should name at least one topic, and each once")
    for name in names:
        if not name.startswith(PATTERN):
            _topic(name)
        elif len(names) > 1:
            raise ValueError("should be one pattern, or topics by their names")
        else:
            try:
                re.compile(name)
            except re.error as error:
                raise ValueError(f"should be a regular expression: {error}") from None
    return value


def _output(value: str) -> str:
    _topic(value.replace(INPUT, "x", 1))
    return value


Topic = Annotated[str, AfterValidator(_topic)]
Output = Annotated[str, AfterValidator(_output)]


class Topics(Section):
    """The names of the topics; no two are the same. Prospects may come from several."""

    prospects: Annotated[str | tuple[str, ...], BeforeValidator(_listed), AfterValidator(_input_names)] = (
        "prospects"
    )
    allowed: Output = "prospects.allowed"
    blocked: Output = "prospects.blocked"
    recalled: Topic = "prospects.recalled"
    shadow: Topic = "prospects.shadow"
    log: Topic = "opposition.log"
    requests: Topic = "opposition.requests"
    lifts: Topic = "opposition.lifts"
    refused: Topic = "opposition.refused"
    receipts: Topic = "fanout.receipts"
    dead: Topic = "fanout.dead"
    drill: Annotated[str, AfterValidator(lambda value: value and _topic(value))] = ""
    attempts: Topic = "call.attempts"

    @property
    def inputs(self) -> Inputs:
        """The input topics, and the outputs of each."""
        names = (self.prospects,) if isinstance(self.prospects, str) else self.prospects
        return Inputs(names, self.allowed, self.blocked, self.singles.values())

    @property
    def singles(self) -> dict[str, str]:
        """The topics that do not depend on the inputs, by role."""
        return self.model_dump(exclude={"prospects", "allowed", "blocked", "drill"})

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        inputs = self.inputs
        topic_names = [(key, name) for key, name in self.model_dump(exclude={"prospects", "drill"}).items()]
        routes = inputs.among(()) or [inputs.route("any")]
        topic_names = [(key, name) for key, name in topic_names if INPUT not in name]
        topic_names += [("prospects", route.input) for route in routes]
        for key in ("allowed", "blocked"):
            if INPUT in getattr(self, key):
                topic_names += [(key, getattr(route, key)) for route in routes]
        keys: dict[str, list[str]] = {}
        for key, name in topic_names:
            keys.setdefault(name, []).append(key)
        for same in keys.values():
            if len(same) > 1:
                raise contradiction(same, "should be different topics")
        return self

    @model_validator(mode="after")
    def _pattern_has_outputs_of_each(self) -> Self:
        shared = [key for key in ("allowed", "blocked") if INPUT not in getattr(self, key)]
        if self.inputs.pattern is not None and shared:
            raise contradiction(
                ["prospects", *shared],
                f"should fit: a pattern needs outputs of each topic, with {INPUT} in their names",
            )
        return self

    @model_validator(mode="after")
    def _drill_has_outputs_of_its_own(self) -> Self:
        # No dialler may read the leads of a drill.
        is_input = self.drill in {each.input for each in self.inputs.among([self.drill])}
        if self.drill and not (is_input and INPUT in self.allowed and INPUT in self.blocked):
            raise contradiction(
                ["drill", "prospects", "allowed", "blocked"],
                f"should fit: the drill's topic is one of the inputs, with {INPUT} in the outputs' names",
            )
        return self


_SERVER = re.compile(r"(?:\w+://)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:\[\],/]+)(?::(\d{1,5}))?")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _servers(value: str) -> str:
    for server in value.split(","):
        match = _SERVER.fullmatch(server.strip())
        if match is None or not 0 < int(match[1] or 9092) < 65536:
            raise ValueError("should be host:port, or several, separated by commas")
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


def _identity(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value or socket.gethostname()):
        raise ValueError(
            "should hold letters, digits, dots, underscores and hyphens only (empty: the host's name)"
        )
    return value


def _purpose(value: str) -> str:
    if len(value) > 80 or names_a_number(value):
        raise ValueError("should be a purpose, as in insurance, or empty")
    return value.strip()


def _campaign(value: str) -> str:
    name = plain(value)
    if value and (len(name) > 100 or RegisterName.parse(f"{CONSENT}@{name}") is None or names_a_number(name)):
        raise ValueError("should be a campaign in Latin letters and digits, as in acme, or empty")
    return name


def _professionals(values: Mapping[str, str]) -> Mapping[str, str]:
    professionals = {_campaign(campaign): _campaign(name) for campaign, name in values.items()}
    if "" in {*professionals, *professionals.values()} or len(professionals) < len(values):
        raise ValueError('should name each campaign once, with its professional, as in spring = "acme"')
    return professionals


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
    """The host and port to listen on; None for an empty address."""
    host, _, port = listen.rpartition(":")
    return (host.strip("[]"), int(port)) if host else None


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        match = _LISTEN.fullmatch(value)
        if match is None or not 0 < int(match[2]) <= 65535:
            raise ValueError('should be a list of host:port, as in ["worker:8080"]')
    return values


_ALIASES = {"UK": "GB", "EL": "GR"}  # the codes of the European institutions


def _upper(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _ALIASES.get(value.upper(), value.upper())


def _event_source(value: str) -> str:
    # The characters of a URI reference (RFC 3986).
    if not re.fullmatch(r"(?:[A-Za-z0-9_.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){0,200}", value):
        raise ValueError("should be a URI, as in https://leads.example.com/scrub, or empty")
    return value


def _country_codes(value: object) -> object:
    """A text with commas is a list of codes; both in any case."""
    codes = value.split(",") if isinstance(value, str) else value
    if not isinstance(codes, list | tuple):
        return value
    codes = [code.strip() if isinstance(code, str) else code for code in codes]
    if "" in codes:
        raise ValueError('should name countries, as in "FR,GB"; leave it out for all of them')
    return tuple(map(_upper, codes))


# ISO 3166-1 gives these to no country (XK is Kosovo's by custom): AA, QM to QZ, XA to XZ, ZZ.
_NO_REGION = r"AA|Q[M-Z]|X[A-JL-Z]|ZZ"


def _region(value: str) -> str:
    if not re.fullmatch(rf"(?!{_NO_REGION})[A-Z]{{2}}", value):
        raise ValueError('should be an ISO 3166-1 code of two letters, as in "FR"')
    return value


Member = Annotated[str, AfterValidator(_member)]
Region = Annotated[str, BeforeValidator(_upper), AfterValidator(_region)]
Properties = Mapping[str, str]
OfStale = Literal["hold", "block"]


# The topics with a retention, by role. The log has none, `evidence.keep_days` is that of recalls and attempts, and the
# shadow and the fan-out make their own topics.
KEPT = ("prospects", "allowed", "blocked", "requests", "lifts", "refused")


def _keep_days(values: Mapping[str, int]) -> Mapping[str, int]:
    if not values.keys() <= set(KEPT):
        raise ValueError(f"should name topics by their role, as in blocked = 30: {', '.join(KEPT)}")
    return values


class Kafka(Section):
    """The brokers, and the retention of topics."""

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


class _NumberMembers(Section):
    numbers: Annotated[tuple[Member, ...], Field(strict=False), AfterValidator(_members)] = ("phone",)
    region: Member = "country"
    default_region: Region = "FR"


if TYPE_CHECKING:
    _FactMembers = _NumberMembers
else:
    # The member of each fact is called as the fact, unless the settings say otherwise.
    _FactMembers = create_model(
        "_FactMembers", __base__=_NumberMembers, **{fact: (Member, fact) for fact in FACTS}
    )


class ProspectSettings(_FactMembers):
    """The members of a prospect, the place of the stamp, and the source of events."""

    default_purpose: Annotated[str, AfterValidator(_purpose)] = ""
    contract_shapes: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_shapes)] = ()
    default_campaign: Annotated[str, AfterValidator(_campaign)] = ""
    professionals: Annotated[Mapping[str, str], AfterValidator(_professionals)] = Field(default_factory=dict)
    case: Literal["any", "exact"] = "any"
    mixed: Literal["block", "strip"] = "block"
    stamp: Literal["value", "header"] = "value"
    format: Literal["json", "avro", "protobuf"] = "json"
    cloudevents: Annotated[str, AfterValidator(_event_source)] = ""

    @property
    def facts(self) -> dict[str, str]:
        """The member of each fact, by the fact's name."""
        return {fact: getattr(self, fact) for fact in FACTS}

    @model_validator(mode="after")
    def _only_json_has_room_for_a_stamp(self) -> Self:
        if self.format != "json" and self.stamp != "header":
            raise contradiction(
                ["format", "stamp"], 'should fit: only JSON takes a stamp in its value; set stamp = "header"'
            )
        return self

    @model_validator(mode="after")
    def _number_is_nothing_else(self) -> Self:
        for key in ("region", *FACTS):
            if getattr(self, key) in self.numbers:
                raise contradiction([key, "numbers"], "should name different members")
        return self

    @model_validator(mode="after")
    def _case_tells_nothing_apart(self) -> Self:
        spelled = {"scrub": "scrub"}
        for name in (*self.numbers, self.region, *self.facts.values()):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                path = ".".join(parts[:depth])
                if self.case == "any" and spelled.setdefault(path.casefold(), path) != path:
                    raise contradiction(["case"], 'should be "exact": names or "scrub" differ only in case')
        return self


class Rules(Section):
    """The country rules and how fresh the index must be."""

    folder: str = ""
    countries: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_country_codes)] = ()
    reassigned_query: Literal["by-law", "always"] = "by-law"
    stale: OfStale = "block"
    stale_by_register: Annotated[Mapping[str, OfStale], AfterValidator(named_registers)] = Field(
        default_factory=dict
    )
    index_lag_max_s: Annotated[float, Field(gt=0)] = 30
    request_lag_max_s: Annotated[float, Field(ge=0)] = 60
    clock_skew_max_s: Annotated[float, Field(ge=1)] = 60

    @property
    def own_folder(self) -> Path | None:
        """The folder of the operator's own rules, if there is one."""
        return Path(self.folder) if self.folder else None


class Recall(Section):
    """The recall of prospects that were allowed."""

    keep_days: Annotated[int, Field(ge=1, le=10_000)] = 90
    lag_max_s: Annotated[float, Field(ge=15, le=3600)] = 30.0


class FanoutTarget(Section):
    """A system that gets opt-outs and recalls. `lists`: of each register its list there, empty: that of everything;
    `secrets`: the file of each."""

    connector: str
    lists: Annotated[Properties, AfterValidator(named_registers)] = Field(default_factory=dict)
    recalls: bool = False
    lifts: bool = False
    number: Literal["", "e164", "digits", "national", "significant"] = ""
    settings: Properties = Field(default_factory=dict)
    secrets: Properties = Field(default_factory=dict)


class Fanout(Section):
    """The systems that get opt-outs and recalls, by name."""

    targets: Mapping[str, FanoutTarget] = Field(default_factory=dict)


class Lists(Section):
    """Guards on imports, the length of the log, and the publisher."""

    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_change: Annotated[float, Field(ge=0)] = 0.1
    max_added: Annotated[int, Field(ge=0)] = 1_000_000
    max_numbers: Annotated[int, Field(ge=1)] = 10_000_000
    max_change_of: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(shares)] = ()
    full_every: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    max_scopes: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    read_max_mb: Annotated[int, Field(ge=16, le=1_000_000)] = 768
    read_max_s: Annotated[float, Field(ge=1, le=86_400)] = 900
    registers: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(own_registers)] = tuple(OWN)
    columns: Annotated[Mapping[str, Properties], AfterValidator(named_registers)] = Field(
        default_factory=dict
    )
    no_into: Annotated[Properties, AfterValidator(opt_out_registers)] = Field(default_factory=dict)
    regions: Annotated[Mapping[str, Region], AfterValidator(named_registers)] = Field(default_factory=dict)
    consent_proof: Literal["kept", "required"] = "kept"
    folder: str = ""
    hash_keys: str = ""
    keep_done_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    requests_group: Annotated[str, Field(min_length=1)] = "stream-scrub-publisher"
    batch_requests: Annotated[int, Field(ge=1, le=100_000)] = 5000
    batch_ms: Annotated[int, Field(ge=1, le=10_000)] = 100
    attempts_max: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 10_000_000

    def region_of(self, register: str) -> str:
        """The configured region of national numbers in lists of the register; empty: none."""
        return self.regions.get(register) or self.regions.get(family(register)) or ""

    def change_allowed(self, register: str) -> float:
        """The largest share of the register's numbers that a full list may change."""
        shares = dict(pair.split("=") for pair in self.max_change_of)
        return float(shares.get(register) or shares.get(family(register)) or self.max_change)


class Http(Section):
    """The addresses of health, metrics and the check API, and access to it."""

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
        """Whether the operator chose the address; False for the default."""
        return "listen" in self.model_fields_set


class Files(Section):
    """Files of leads that are uploaded on the server's page, and the index of dossiers."""

    keep_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    index_dir: str = ""


class Log(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Section):
    """Everything that can be set. An instance is always valid as a whole."""

    kafka: Kafka = Field(default_factory=Kafka)
    topics: Topics = Field(default_factory=Topics)
    worker: Worker = Field(default_factory=Worker)
    prospect: ProspectSettings = Field(default_factory=ProspectSettings)
    registry: Registry = Field(default_factory=Registry)
    rules: Rules = Field(default_factory=Rules)
    recall: Recall = Field(default_factory=Recall)
    fanout: Fanout = Field(default_factory=Fanout)
    lists: Lists = Field(default_factory=Lists)
    http: Http = Field(default_factory=Http)
    files: Files = Field(default_factory=Files)
    evidence: EvidenceSettings = Field(default_factory=EvidenceSettings)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _format_has_what_it_needs(self) -> Self:
        if self.prospect.format != "json" and not self.registry.url:
            raise contradiction(
                ["prospect.format", "registry.url"], "should fit: set the schema registry's address"
            )
        if self.prospect.format != "json" and self.topics.drill:
            raise contradiction(["prospect.format", "topics.drill"], "should fit: a drill's leads are JSON")
        return self
