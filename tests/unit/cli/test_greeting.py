"""The first lines of a daemon: for people at a terminal, and JSON for everything else."""

import pytest

from stream_scrub.cli import greeting
from stream_scrub.config import load

FLAGS = {"kafka.bootstrap_servers": "kafka-1:9092,kafka-2:9092", "log.format": "console"}


@pytest.mark.parametrize(
    ("greet", "flags", "told"),
    [
        (
            greeting.of_worker,
            {"topics.prospects": "leads"},
            ("leads on kafka-1:9092,kafka-2:9092", "prospects.allowed, prospects.blocked", "/readyz"),
        ),
        (
            greeting.of_publisher,
            {"lists.folder": "lists-in"},
            ("opposition.requests, opposition.lifts", "lists-in/REGISTER"),
        ),
        (greeting.of_publisher, {"http.listen": ""}, ("--folder DIR", "not served")),
        (
            greeting.of_server,
            {"http.tokens": "tokens.json", "http.tls_cert": "c.pem", "http.tls_key": "k.pem"},
            ("https://127.0.0.1:8080/docs", "curl -s https://127.0.0.1:8080/v1/check -H 'Authorization"),
        ),
        (greeting.of_trial, {}, ("a trial", "http://127.0.0.1:8080/", "+33612345678 has opted out")),
    ],
)
def test_a_daemon_says_what_it_does(capsys, greet, flags, told):
    """An operator would start the wrong daemon, or on the wrong topics, and read it out of a line of JSON."""
    greet(load(flags={**FLAGS, **flags}, environ={}))
    said = capsys.readouterr().err
    assert [each for each in (*told, "Ctrl-C") if each not in said] == []


def test_what_is_no_terminal_gets_log_lines_alone(capsys):
    """A collector of logs would meet lines that are no JSON."""
    greeting.of_worker(load(flags={**FLAGS, "log.format": "auto"}, environ={}))
    assert capsys.readouterr() == ("", "")
