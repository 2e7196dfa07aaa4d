"""Settings: where they come from, which wins, and where a problem is said to stand."""

import os
from pathlib import Path

import pytest

from stream_scrub.config import Settings, load, read
from tests.support.running.files import no_settings
from tests.unit.test_config import loaded, problems


def test_flags_win_over_environment_over_file_over_defaults(tmp_path):
    """A flag given for one run would be silently overruled by what is deployed."""
    toml = "[worker]\nbatch_ms = 1\nbatch_records = 1\nprocesses = 1\ngroup_id = 'file'\n"
    environ = {"STREAM_SCRUB_WORKER__BATCH_MS": "2", "STREAM_SCRUB_WORKER__BATCH_RECORDS": "2"}
    flags = {"worker.batch_ms": 3, "worker.processes": None}

    worker = loaded(tmp_path, toml=toml, environ=environ, flags=flags).worker

    assert (worker.batch_ms, worker.batch_records, worker.processes, worker.group_id) == (3, 2, 1, "file")


def test_file_is_found_by_flag_then_variable_then_folder(tmp_path, monkeypatch):
    """The settings of another environment would be used."""
    for name in ("flag", "variable", "stream-scrub"):
        (tmp_path / f"{name}.toml").write_text(f"[worker]\ngroup_id = '{name}'")
    environ = {"STREAM_SCRUB_CONFIG": "variable.toml"}

    assert load(cwd=tmp_path, environ={}).worker.group_id == "stream-scrub"
    assert load(cwd=tmp_path, environ=environ).worker.group_id == "variable"
    assert load(cwd=tmp_path, environ=environ, config_file=Path("flag.toml")).worker.group_id == "flag"
    no_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("STREAM_SCRUB_WORKER__GROUP_ID", "from-outside")
    assert load(cwd=tmp_path).worker.group_id == "from-outside", "the environment of the process"


@pytest.mark.parametrize(("where", "told"), [("", "variable"), ("refused", "flag"), ("in", "file")])
def test_a_file_that_was_dropped_as_a_list_sets_nothing(tmp_path, monkeypatch, where, told):
    """Whoever may drop a list would choose the publisher's brokers, and the code that its clients load."""
    dropped = tmp_path / "dropped"
    here = dropped / where
    here.mkdir(parents=True)
    folder = str(dropped) if told != "variable" else os.path.relpath(dropped, here)
    hostile = "[worker]\ngroup_id = 'theirs'\n[kafka]\nclient = { 'plugin.library.paths' = '/tmp/x.so' }\n"
    (here / "stream-scrub.toml").write_text(
        hostile + (f"[lists]\nfolder = '{folder}'\n" if told == "file" else "")
    )
    seen = []
    found = read(
        cwd=here,
        environ={"STREAM_SCRUB_LISTS__FOLDER": folder} if told == "variable" else {},
        flags={"lists.folder": folder} if told == "flag" else {},
        extra_checks=[lambda settings: seen.append(settings) or []],
    )

    (problem,) = found.problems
    assert problem.startswith("stream-scrub.toml lies in lists.folder")
    assert found.settings.worker.group_id == "stream-scrub" and not found.settings.kafka.client
    assert [settings.kafka.client for settings in seen] == [{}]


def test_a_named_file_that_was_dropped_is_not_read_either(tmp_path):
    """A variable that points into the volume would do what a file there says."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.toml").write_text("[worker]\ngroup_id = 'theirs'")
    for way in (
        {"config_file": tmp_path / "in" / "a.toml"},
        {"environ": {"STREAM_SCRUB_CONFIG": "in/a.toml"}},
    ):
        found = read(**{"environ": {}, "cwd": tmp_path, "flags": {"lists.folder": "in"}, **way})
        assert len(found.problems) == 1 and found.settings.worker.group_id == "stream-scrub"
    found = read(cwd=tmp_path, environ={}, flags={"lists.folder": "elsewhere"}, config_file=Path("in/a.toml"))
    assert not found.problems and found.settings.worker.group_id == "theirs"


def test_a_folder_that_is_no_path_is_named(tmp_path):
    """A NUL in a path, or a link to itself, would end every command in a traceback."""
    (tmp_path / "circle").symlink_to("circle")
    (problem,) = problems(tmp_path, toml='lists.folder = "a\\u0000b"')
    assert problem == "stream-scrub.toml:1: lists.folder holds a NUL character"
    assert loaded(tmp_path, toml="lists.folder = 'circle/in'").lists.folder == "circle/in"


@pytest.mark.parametrize("writable", ["folder", "file"])
def test_a_file_that_everybody_may_write_is_not_read_unasked(tmp_path, writable):
    """In a folder like /tmp anybody could say what the next command does."""
    file = tmp_path / "stream-scrub.toml"
    file.write_text("[worker]\ngroup_id = 'theirs'")
    (tmp_path if writable == "folder" else file).chmod(0o1777 if writable == "folder" else 0o666)

    (problem,) = problems(tmp_path)
    assert "every user may write" in problem
    assert load(cwd=tmp_path, environ={}, config_file=file).worker.group_id == "theirs"
    file.unlink()
    assert load(cwd=tmp_path, environ={}).worker.group_id == "stream-scrub"


@pytest.mark.parametrize("name", ["--config", "STREAM_SCRUB_CONFIG"])
def test_named_file_that_is_missing_is_a_problem(tmp_path, name):
    """A typing error in the file's name would run everything on defaults."""
    environ = {} if name == "--config" else {"STREAM_SCRUB_CONFIG": "gone.toml"}
    config_file = Path("gone.toml") if name == "--config" else None

    (problem,) = problems(tmp_path, environ=environ, config_file=config_file)

    assert problem == f"{name}: gone.toml cannot be read: No such file or directory"


def test_every_problem_is_reported_at_once_with_its_place(tmp_path):
    """A user would have to restart once for each mistake, and search for where it is."""
    toml = '[worker]\nbatch_ms = "50"\n\n[prospect]\nnumbers = [\n  "phone",\n  "a..b",\n]\n[kafka.client]\nfoo = [1]\n'
    environ = {"STREAM_SCRUB_LOG__LEVEL": "loud", "STREAM_SCRUB_RULES__INDEX_LAG_MAX_S": "soon"}

    found = problems(tmp_path, toml=toml, environ=environ, flags={"lists.max_bad": 2})

    assert set(found) == {
        "command line: lists.max_bad should be less than or equal to 1, not 2",
        "STREAM_SCRUB_LOG__LEVEL: log.level should be 'debug', 'info', 'warning' or 'error', not \"loud\"",
        'STREAM_SCRUB_RULES__INDEX_LAG_MAX_S: rules.index_lag_max_s should be a valid number, not "soon"',
        "stream-scrub.toml:10: kafka.client.foo should be text, a number, true or false",
        'stream-scrub.toml:2: worker.batch_ms should be a valid integer, not "50"',
        'stream-scrub.toml:5: prospect.numbers should name a member, as in "phone" or "contact.phone", not "a..b"',
    }


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (
            "[worker]\n\nbatchms = 1",
            "stream-scrub.toml:3: worker.batchms is not a setting (did you mean worker.batch_ms?)",
        ),
        (
            "max_scopes = 1",
            "stream-scrub.toml:1: max_scopes is not a setting (did you mean lists.max_scopes?)",
        ),
        ("worker = 3", "stream-scrub.toml:1: worker should be a table"),
        ("[worker]\nid = ", "stream-scrub.toml:2: is not TOML: Invalid value"),
        (
            "[kafka]\nclient = 3",
            "stream-scrub.toml:2: kafka.client should hold client properties by their names",
        ),
    ],
)
def test_unknown_and_misshapen_keys_are_refused_with_the_nearest_name(tmp_path, toml, problem):
    """A misspelt setting would be ignored and its default used."""
    assert problems(tmp_path, toml=toml) == [problem]


def test_unknown_variables_are_refused_and_those_of_the_tests_and_of_kubernetes_left_alone(tmp_path):
    """A misspelt variable on a deployment would be ignored, or a pod beside a Service named stream-scrub not start."""
    links = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "STREAM_SCRUB_SERVICE_HOST": "10.0.0.2",
        "STREAM_SCRUB_SERVICE_PORT_HTTP": "8080",
        "STREAM_SCRUB_PORT": "tcp://10.0.0.2:8080",
        "STREAM_SCRUB_PORT_8080_TCP_ADDR": "10.0.0.2",
        "STREAM_SCRUB_CHECK_SERVICE_PORT": "8080",
    }
    switches = {
        "STREAM_SCRUB_TEST_BOOTSTRAP": "a:1",
        "STREAM_SCRUB_TEST_OTHER": "1",
        "STREAM_SCRUB_REQUIRE_KAFKA": "1",
        "STREAM_SCRUB_DIFFERENTIAL": "1",
    }

    assert loaded(tmp_path, environ=links | switches) == Settings()
    unknown = {
        "STREAM_SCRUB_PORT": "x:1",
        "STREAM_SCRUB_WORKER__BATCHMS": "1",
        "STREAM_SCRUB_RECALL__WINDOW": "x",
    }
    assert problems(tmp_path, environ=unknown) == [
        "STREAM_SCRUB_PORT: is not a setting",
        "STREAM_SCRUB_RECALL__WINDOW: is not a setting",
        "STREAM_SCRUB_WORKER__BATCHMS: is not a setting (did you mean STREAM_SCRUB_WORKER__BATCH_MS?)",
    ]


def test_lists_by_environment_are_comma_separated_or_json(tmp_path):
    """Prospects with two numbers could not be configured on a container."""
    for text in ("phone, contact.mobile", '["phone", "contact.mobile"]'):
        settings = loaded(tmp_path, environ={"STREAM_SCRUB_PROSPECT__NUMBERS": text})

        assert settings.prospect.numbers == ("phone", "contact.mobile")


def test_client_properties_come_quoted_bare_by_variable_and_as_json(tmp_path):
    """A secured cluster could not be reached with the way of writing that the user chose."""
    toml = '[kafka.client]\n"sasl.username" = "u"\nsecurity.protocol = "SASL_SSL"\nretries = 3\nenable.x = true\n'
    environ = {
        "STREAM_SCRUB_KAFKA__CLIENT__SASL_USERNAME": "over",
        "STREAM_SCRUB_KAFKA__CONSUMER": '{"fetch.wait.max.ms": 5, "check": {"crcs": false}}',
        "STREAM_SCRUB_KAFKA__CLIENT__SASL_OAUTHBEARER_ASSERTION_FILE": "/not/read",
    }

    kafka = loaded(tmp_path, toml=toml, environ=environ, flags={"kafka.producer.linger.ms": 5}).kafka

    assert kafka.client == {
        "sasl.username": "over",
        "security.protocol": "SASL_SSL",
        "retries": "3",
        "enable.x": "true",
        "sasl.oauthbearer.assertion.file": "/not/read",
    }
    assert kafka.consumer == {"fetch.wait.max.ms": "5", "check.crcs": "false"}
    assert kafka.producer == {"linger.ms": "5"}


def test_property_given_twice_is_a_problem(tmp_path):
    """Which of two values is used would be left to chance."""
    toml = '[kafka.client]\n"a.b" = "1"\na.b = "2"\n'
    environ = {"STREAM_SCRUB_KAFKA__CONSUMER": '{"a.b": 1}', "STREAM_SCRUB_KAFKA__CONSUMER__A_B": "2"}

    assert problems(tmp_path, toml=toml, environ=environ) == [
        "stream-scrub.toml:2: kafka.client.a.b is given twice",
        "STREAM_SCRUB_KAFKA__CONSUMER and STREAM_SCRUB_KAFKA__CONSUMER__A_B: kafka.consumer.a.b is set by both",
    ]


def test_secret_is_read_from_a_mounted_file(tmp_path):
    """A password mounted by Kubernetes would be sent with its newline, or its path be sent as the password."""
    (tmp_path / "secret").write_text("pa ss\n")

    settings = loaded(
        tmp_path, environ={"STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE": str(tmp_path / "secret")}
    )

    assert settings.kafka.client == {"sasl.password": "pa ss"}


def test_secret_file_that_is_missing_or_doubled_names_the_variable(tmp_path):
    """A worker would fail at the broker with a wrong password instead of at its start with the reason."""
    environ = {
        "STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD": "x",
        "STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE": "gone",
    }

    both, missing = problems(tmp_path, environ=environ)

    assert both.startswith(
        "STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD and STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE"
    )
    assert missing.startswith("STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE: kafka.client.sasl.password")
    assert missing.endswith("names a file that cannot be read: No such file or directory")


def test_origins_say_where_each_value_comes_from(tmp_path):
    """`stream-scrub config` could not tell which of four places to change."""
    (tmp_path / "stream-scrub.toml").write_text(
        '[kafka]\nclient = { acks = 1 }\n[worker]\n# why\nid = "a"\nbatch_ms = 0\n'
    )

    found = read(
        cwd=tmp_path, environ={"STREAM_SCRUB_LOG__LEVEL": "debug"}, flags={"prospect.stamp": "header"}
    )

    assert {key: place for key, place in found.origins.items() if place != "default"} == {
        "kafka.client": "stream-scrub.toml:2",
        "kafka.client.acks": "stream-scrub.toml:2",
        "worker.id": "stream-scrub.toml:5",
        "log.level": "STREAM_SCRUB_LOG__LEVEL",
        "prospect.stamp": "command line",
    }
    assert found.origins["worker.batch_ms"] == "default" and len(found.problems) == 1
    assert found.settings is not None and found.settings.worker.batch_ms == 50


@pytest.mark.parametrize(("content", "why"), [(b"\xff", "is not UTF-8"), (b"#" * (2 << 20), "is over 1 MiB")])
def test_file_that_is_no_text_or_endless_is_a_problem(tmp_path, content, why):
    """The wrong file given as --config would end in a traceback or fill the memory."""
    (tmp_path / "x").write_bytes(content)

    assert problems(tmp_path, config_file=Path("x")) == [f"--config: x {why}"]
    assert problems(tmp_path, config_file=Path()) == ["--config: . cannot be read: Is a directory"]
