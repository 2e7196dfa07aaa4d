"""Settings: what is refused."""

import json
import pickle

import pytest
from pydantic import ValidationError

from stream_scrub.config import address_of, load, masked
from stream_scrub.errors import ConfigError
from stream_scrub.kafka.client.allowed_properties import HARMLESS


def loaded(tmp_path, *, toml=None, environ=None, flags=None, **more):
    if toml is not None:
        (tmp_path / "stream-scrub.toml").write_text(toml)
    return load(cwd=tmp_path, environ=environ or {}, flags=flags, **more)


def problems(tmp_path, **given):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, **given)
    return caught.value.problems


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kafka.bootstrap_servers", ""),
        ("kafka.bootstrap_servers", "a:70000"),
        ("kafka.group_protocol", "eager"),
        ("topics.log", "two words"),
        ("worker.group_id", ""),
        ("worker.id", "a/b"),
        ("worker.batch_records", 0),
        ("worker.batch_ms", 0),
        ("worker.batch_ms", 1.5),
        ("worker.processes", 0),
        ("prospect.numbers", []),
        ("prospect.numbers", ["a", "a"]),
        ("prospect.numbers", ["scrub"]),
        ("prospect.campaign", "scrub.verdict"),
        ("prospect.region", ""),
        ("prospect.default_region", "ZZ"),
        ("lists.regions", {"tps": "ZZ"}),
        ("rules.countries", ""),
        ("prospect.case", "lower"),
        ("prospect.contract_shapes", ["C"]),
        ("prospect.default_purpose", "0612345678"),
        ("kafka.keep_days", {"log": 30}),
        ("prospect.default_campaign", "0612345678"),
        ("prospect.default_campaign", "小龙"),
        ("prospect.default_campaign", "-"),
        ("prospect.mixed", "allow"),
        ("prospect.stamp", "both"),
        ("prospect.cloudevents", "https://example.com/100%"),
        ("rules.stale", "allow"),
        ("rules.index_lag_max_s", 0),
        ("rules.index_lag_max_s", float("nan")),
        ("lists.max_bad", 1.1),
        ("lists.max_change", -0.1),
        ("lists.max_numbers", 0),
        ("lists.read_max_mb", 15),
        ("lists.max_change_of", ["bloctel=-1"]),
        ("lists.registers", ["internal"]),
        ("lists.registers", ["internal", "consent", "consent"]),
        ("lists.registers", ["internal", "consent", "internal@acme"]),
        ("lists.registers", ["internal", "consent", "of-33612345678"]),
        ("lists.max_change_of", ["internal@0612345678=0.5"]),
        ("lists.consent_proof", "some"),
        ("lists.batch_ms", 0),
        ("lists.max_bad", float("nan")),
        ("files.keep_minutes", 0),
    ],
)
def test_values_outside_their_range_are_refused(tmp_path, key, value):
    """A worker would start with settings that cannot work, or that no verdict is safe with."""
    (problem,) = problems(tmp_path, flags={key: value})

    assert problem.startswith(f"command line: {key} should ")


def test_topics_that_are_the_same_are_refused(tmp_path):
    """Allowed and blocked prospects would be written to one topic and dialled together."""
    toml = "[topics]\nallowed = 'out'\nblocked = 'out'\nrequests = 'opposition.log'\nprospects = 'bad name'\n"

    assert [problem.partition(": ")[2] for problem in problems(tmp_path, toml=toml)][1:] == [
        "topics.allowed and topics.blocked should be different topics",
        "topics.log and topics.requests should be different topics",
    ]
    blamed = problems(tmp_path, toml="[topics]\nlog = 'bad name'\nrequests = 'opposition.log'\n")
    assert len(blamed) == 1, "not on the default of what is refused"


def test_number_member_cannot_be_another_member_too(tmp_path):
    """Numbers would be read as country codes."""
    assert problems(tmp_path, flags={"prospect.region": "phone"}) == [
        "command line: prospect.region and prospect.numbers should name different members"
    ]


@pytest.mark.parametrize(
    "flags",
    [
        {"prospect.numbers": ["lead.phone", "Lead.mobile"]},
        {"prospect.campaign": "lead.x", "prospect.purpose": "lead.X"},
        {"prospect.contract": "Scrub"},
    ],
)
def test_members_that_differ_in_case_alone_need_readers_that_tell_them_apart(tmp_path, flags):
    """Every prospect would come out blocked: each of the two members is another value of the other."""
    assert problems(tmp_path, flags=flags) == [
        'default: prospect.case should be "exact": names or "scrub" differ only in case'
    ]
    assert loaded(tmp_path, flags={**flags, "prospect.case": "exact"}).prospect.case == "exact"


@pytest.mark.parametrize(("word", "region"), [("gb", "GB"), ("UK", "GB"), ("el", "GR")])
def test_default_region_may_be_written_as_people_write_it(tmp_path, word, region):
    """`fr` would be refused, or match no rule; by `UK` every national number would be invalid."""
    environ = {"STREAM_SCRUB_PROSPECT__DEFAULT_REGION": word}
    assert loaded(tmp_path, environ=environ).prospect.default_region == region


def test_problems_of_extra_checks_join_the_list(tmp_path):
    """Refused client properties would show only after every other mistake is gone."""
    seen = []

    def check(settings):
        seen.append(settings.kafka.client)
        return ["kafka.client: no"]

    found = problems(
        tmp_path,
        toml="[kafka.client]\nacks = 0\n[worker]\nbatch_ms = 0\n",
        extra_checks=[check, lambda _: []],
    )

    assert seen == [{"acks": "0"}]
    assert found[0].startswith("stream-scrub.toml:4: worker.batch_ms") and found[1:] == ["kafka.client: no"]


def test_secrets_are_masked_and_never_in_problems_or_representations(tmp_path):
    """A password would stand in a terminal's scrollback, a log or a bug report."""
    names = (
        "sasl.password ssl.key.password ssl.keystore.password ssl.key.pem sasl.jaas.config sasl.oauthbearer.config "
        "sasl.oauthbearer.client.secret sasl.oauthbearer.assertion.private.key.passphrase basic.auth.credentials.source"
    )
    secrets = dict.fromkeys(names.split(), "hunter2")
    client = {**secrets, "sasl.username": "u"}
    settings = loaded(tmp_path, environ={"STREAM_SCRUB_KAFKA__CLIENT": json.dumps(client)})

    assert masked(settings, HARMLESS)["kafka"]["client"] == {
        **dict.fromkeys(secrets, "***"),
        "sasl.username": "u",
    }
    mistyped = {
        "sasl.pasword": "hunter2",
        "SASL.PASSWORD ": "hunter2",
        "sasl.pwd": "hunter2",
        "ssl_key_pem": "hunter2",
    }
    shown = masked(loaded(tmp_path, flags={"kafka.client": {**mistyped, "client.id": "me"}}), HARMLESS)
    assert shown["kafka"]["client"] == {**dict.fromkeys(mistyped, "***"), "client.id": "me"}
    assert settings.kafka.client == client
    assert "hunter2" not in repr(settings)
    wrong = problems(
        tmp_path,
        toml='[kafka.client]\n"sasl.password" = ["hunter2"]\n',
        environ={
            "STREAM_SCRUB_KAFKA__CONSUMER": '{"sasl.password": "hunter2"',
            "STREAM_SCRUB_KAFKA__SASL": "hunter2",
        },
        flags={"kafka.client": {"sasl.password": ["hunter2"]}},
    )
    assert len(wrong) == 4 and "hunter2" not in "".join(wrong)


def test_settings_are_frozen_and_travel_to_other_processes(tmp_path):
    """One part of the program could change the rules of another, or `--processes 2` could not start."""
    settings = loaded(tmp_path, toml='[kafka.client]\n"sasl.password" = "x"\n')

    with pytest.raises(ValidationError):
        settings.worker.batch_ms = 1
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        *(("127.0.0.1:0", ("127.0.0.1", 0)), ("[::]:9000", ("::", 9000)), ("", None)),
        *((wrong, "refused") for wrong in ("8080", ":8080", "127.0.0.1:65536", "::1:8080", "x:1/metrics")),
    ],
)
def test_an_address_to_listen_on_is_taken_apart_or_refused(tmp_path, listen, address):
    """The worker would listen elsewhere than it was told, or start and nobody could probe it."""
    environ = {"STREAM_SCRUB_HTTP__LISTEN": listen}
    if address == "refused":
        (problem,) = problems(tmp_path, environ=environ)
        assert problem.startswith("STREAM_SCRUB_HTTP__LISTEN: http.listen should be host:port")
    else:
        http = loaded(tmp_path, environ=environ).http
        assert address_of(http.listen) == address and http.is_asked_for
    assert not loaded(tmp_path).http.is_asked_for


@pytest.mark.parametrize("url", ["https://me:hun/ter2@registry", "registry?key=hunter2"])
def test_a_password_in_the_registry_s_url_is_in_no_problem(tmp_path, url):
    """The password would stand in the log of each pod that does not start."""
    wrong = problems(tmp_path, toml=f"[registry]\nurl = '{url}'\n")
    assert "no user, password or query" in wrong[0] and "ter2" not in "".join(wrong)


def test_the_secrets_in_a_target_s_url_are_shown_by_no_config(tmp_path):
    """Whoever sees the configuration could write to the target, or delete people from its list."""
    toml = """[fanout.targets.hook]
connector = "webhook"
lists = { internal = "all" }
settings = { url = "https://me:hunter2@hooks.example:8443/T0/hunter3?key=hunter4#hunter5" }
[fanout.targets.dialler]
connector = "vicidial"
settings = { url = "http://dialler", call_time = "24hours" }
"""
    shown = masked(loaded(tmp_path, toml=toml), HARMLESS)["fanout"]["targets"]
    assert shown["hook"]["settings"] == {"url": "https://hooks.example:8443/***"}
    assert shown["dialler"]["settings"] == {"url": "http://dialler", "call_time": "24hours"}
    wrong = problems(tmp_path, toml="[fanout.targets.hook]\nconnector = 'x'\nsecrets = { pin = 2222 }\n")
    assert "2222" not in "".join(wrong)


AVRO = "[prospect]\nformat = 'avro'\nstamp = 'header'\n[registry]\nurl = 'https://registry:8081/apis'\n"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("stamp = 'header'", "", "prospect.format and prospect.stamp should fit"),
        ("url = 'https://registry:8081/apis'", "", "prospect.format and registry.url should fit"),
        ("https://registry", "registry", "registry.url should be http:// or https://"),
        ("[registry]", "[registry]\nuser = 'me'", "registry.user and registry.password_file should both"),
        (
            "[registry]",
            "[registry]\nuser = 'me'\npassword_file = 'p'\ntoken_file = 't'",
            "registry.user and registry.token_file should not both",
        ),
        (
            "[prospect]",
            "[topics]\nprospects = ['a', 'd']\nallowed = '{input}.a'\nblocked = '{input}.b'\ndrill = 'd'\n[prospect]",
            "prospect.format and topics.drill should fit",
        ),
    ],
)
def test_a_format_with_schemas_has_what_it_needs(tmp_path, old, new, problem):
    """A worker would start and find out with the first prospect, or write its stamp into a record."""
    assert loaded(tmp_path, toml=AVRO.replace("avro", "protobuf")).prospect.format == "protobuf"
    (found,) = problems(tmp_path, toml=AVRO.replace(old, new))
    assert problem in found
