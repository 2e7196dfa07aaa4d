"""Tokens: who may ask, for what, how much, and until when."""

import errno
import json
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from stream_scrub.cli.app import app
from stream_scrub.config import load
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.serve import guard, serving, tokens
from stream_scrub.serve.bodies import Problem
from tests.support.running.worker import environment
from tests.unit.serve.conftest import CONSENTING, make_lists, starting

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def issue(path: Path, name: str, *scopes: str) -> str:
    return tokens.add(path, name, list(scopes), NOW).token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


QUESTION = {"number": f"+{CONSENTING}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def asked(rules, tmp_path_factory):
    """A server with tokens, and their file: each test adds its own."""
    file = tmp_path_factory.mktemp("asked") / "tokens.json"
    issue(file, "first", "check")
    with starting(rules) as start:
        yield start(make_lists(), http__tokens=str(file)), file


def test_only_a_token_lets_in(asked):
    """Whoever finds the address could ask who has opposed."""
    server, file = asked
    dialler = issue(file, "only", "check")
    wrong = [bearer(dialler[:-1]), bearer(dialler + "A"), bearer("scrub_" + "A" * 43), bearer("\u00e9" * 5)]
    wrong += [{}, {"Authorization": f"Basic {dialler}"}, {"Authorization": dialler}]
    for headers in (*wrong, {"Cookie": f"token={dialler}"}):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = server.client.post("/v1/check", json=QUESTION, headers=encoded)
        assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        assert answer.json()["type"].endswith("#unauthorized")
    assert server.client.get("/v1/registers").status_code == 401
    server.until(lambda: server.check(QUESTION, **bearer(dialler)).status_code == 200)
    assert server.client.get("/v1/registers", headers=bearer(dialler)).status_code == 200
    assert server.client.get("/livez").status_code == server.client.get("/metrics").status_code == 200
    assert dialler not in server.out.getvalue().decode() + server.client.get("/metrics").text


def test_a_token_is_for_what_it_was_made_for(asked):
    """A dialler's token could publish opt-outs, or a form's token ask about people."""
    server, file = asked
    other, admin = issue(file, "form", "request"), issue(file, "boss", "admin")
    server.until(lambda: server.check(QUESTION, **bearer(admin)).status_code == 200)
    answer = server.check(QUESTION, **bearer(other))
    assert (answer.status_code, answer.json()["scope"]) == (403, "check")


def test_a_revoked_token_is_over_within_a_second(asked):
    """A token that leaked would let in until somebody restarts every server."""
    server, file = asked
    leaked = issue(file, "leaked", "check")
    server.until(lambda: server.check(QUESTION, **bearer(leaked)).status_code == 200)
    tokens.revoke(file, "leaked")
    server.until(lambda: server.check(QUESTION, **bearer(leaked)).status_code == 401, 3)


def test_a_file_that_looks_the_same_is_read_anew(tmp_path):
    """A token whose rights were taken away would keep them, where a copy keeps size and time (`rsync -t`)."""
    file = tmp_path / "tokens.json"
    token = issue(file, "boss", "admin")
    store = tokens.TokenStore(file, lambda _: None)
    state = file.stat()
    file.write_bytes(file.read_bytes().replace(b'"admin"', b'"check"'))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    store.look()
    assert store.find(token).scopes == ("check",)


UNREADABLE = [
    b"",
    b"{}x",
    b'{"version": 2}',
    b'{"tokens": [{"name": 1}]}',
    b'{"tokens": [{"name": "x", "sha256": "%b"}]}' % ("\u00e9" * 64).encode(),
    None,
]


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_file_that_cannot_be_read_lets_nobody_in(asked, content):
    """A half-written file would let somebody in, or take the server down; or nobody would be told."""
    server, file = asked
    token = issue(file, f"unreadable-{UNREADABLE.index(content)}", "check")
    server.until(lambda: server.check(QUESTION, **bearer(token)).status_code == 200)
    kept, said = file.read_bytes(), len(server.lines())
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    server.until(lambda: server.check(QUESTION, **bearer(token)).status_code == 401, 3)
    told = [line["event"] for line in server.lines()[said:]]
    assert "tokens unreadable, refusing all requests" in told
    file.write_bytes(kept)
    server.until(lambda: server.check(QUESTION, **bearer(token)).status_code == 200, 3)


def test_one_token_cannot_take_all(serve, lists, tmp_path):
    """One dialler that runs wild would leave the others without an answer."""
    file = tmp_path / "tokens.json"
    greedy, other = issue(file, "greedy", "check"), issue(file, "other", "check")
    server = serve(lists, http__tokens=str(file), http__rate_per_s="0.5")
    page = {"prospects": [QUESTION] * 9_999}
    assert server.check(page, **bearer(greedy)).status_code == 200
    assert server.check(QUESTION, **bearer(greedy)).status_code == 200
    answer = server.check({"prospects": [QUESTION] * 100}, **bearer(greedy))
    assert answer.status_code == 429 and 190 <= int(answer.headers["retry-after"]) <= 200
    assert answer.json()["type"].endswith("#too-many-requests")
    assert server.check(QUESTION, **bearer(other)).status_code == 200


def test_a_bucket_fills_again(monkeypatch):
    """Once at the limit, a dialler would never get an answer again."""
    now = [100.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    bucket = guard.Bucket(10)
    bucket.spend(guard.BURST_MIN)
    with pytest.raises(Problem):
        bucket.spend(1)
    now[0] += 0.5
    bucket.spend(5)
    with pytest.raises(Problem):
        bucket.spend(1)


def test_without_tokens_a_page_of_another_site_cannot_ask(server):
    """A page in the operator's browser could make its own name point here, and read the answers."""
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "10.0.0.1"):
        answer = server.client.post("/v1/check", json=QUESTION, headers={"Host": host})
        assert answer.status_code == 403, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80", "127.1.2.3"):
        assert server.client.post("/v1/check", json=QUESTION, headers={"Host": host}).status_code == 200, host


def test_the_file_holds_no_token(folder):
    """Whoever reads a backup could ask in everybody's name."""
    file = folder / "a.json"
    made = issue(file, "dialler-7", "check", "request")
    assert re.fullmatch(r"scrub_[A-Za-z0-9_-]{43}", made)
    assert made not in file.read_text() and made[6:20] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len({issue(file, f"n{n}", "check") for n in range(5)}) == 5


def test_wrong_names_and_scopes_are_told(folder):
    """A misspelt scope would give a token that can do nothing, or a phone number would stand in the list for years."""
    file = folder / "b.json"
    for name in ("", "a b", "../x", "+33612345678", "33612345678"):
        with pytest.raises(ConfigError):
            tokens.add(file, name, ["check"], NOW)
    for scopes in ([], ["chek"]):
        with pytest.raises(ConfigError):
            tokens.add(file, "ok", scopes, NOW)
    issue(file, "twice", "check")
    with pytest.raises(ConfigError, match="exists"):
        issue(file, "twice", "check")
    with pytest.raises(ConfigError, match="no token"):
        tokens.revoke(file, "nobody")
    with pytest.raises(Unavailable):
        tokens.add(folder / "no" / "folder.json", "ok", ["check"], NOW)


def test_tokens_that_are_made_at_once_are_all_kept(folder):
    """Two operators at work would take each other's tokens away."""
    file = folder / "c.json"
    threads = [threading.Thread(target=issue, args=(file, f"n{n}", "check")) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.name for each in tokens.read(file).tokens} == {f"n{n}" for n in range(8)}


def test_the_last_use_is_kept(folder):
    """Nobody could tell which of ten tokens is still in use."""
    file = folder / "d.json"
    token = issue(file, "used", "check")
    issue(file, "unused", "check")
    store = tokens.TokenStore(file, lambda _: None)
    assert store.find(token) is not None
    store.keep_use()
    listed = {each.name: each.last_used for each in tokens.listed(file)}
    assert listed["unused"] is None and listed["used"].startswith("20")


def test_a_full_disk_keeps_nobody_out(folder, monkeypatch):
    """A note of when a token was used would cost the answer; or a token that could not be kept would be handed out."""
    file = folder / "e.json"
    token = issue(file, "used", "check")
    monkeypatch.setattr(tokens, "atomic_file", full)
    store = tokens.TokenStore(file, lambda _: None)
    assert store.find(token) is not None
    store.keep_use()
    assert store.find(token) is not None
    with pytest.raises(Unavailable, match="No space left"):
        issue(file, "other", "check")
    assert [each.name for each in tokens.listed(file)] == ["used"]


def full(*_arguments: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_console_makes_lists_and_revokes(tmp_path, monkeypatch):
    """An operator could not let a dialler in."""
    monkeypatch.chdir(tmp_path)
    env = environment("127.0.0.1:1", http__tokens=str(tmp_path / "tokens.json"))

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["tokens", *arguments], env=env, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    made = json.loads(said("add", "dialler-7", "--scope", "check", "--scope", "history,request", "--json"))
    assert made["scopes"] == ["check", "request", "history"] and made["token"].startswith("scrub_")
    assert json.loads(said("list", "--json"))[0]["name"] == "dialler-7"
    assert "check, request, history" in said("list") and made["token"] not in said("list")
    assert said("add", "dialler-7", "--scope", "admin", "--if-missing") == ""
    assert "revoked" in said("revoke", "dialler-7") and json.loads(said("list", "--json")) == []
    assert said("add", "x", "--scope", "check").splitlines()[-1].startswith("scrub_")
    with pytest.raises(ConfigError, match=r"http\.tokens"):
        CliRunner().invoke(
            app, ["tokens", "list"], env=environment("127.0.0.1:1", http__tokens=""), catch_exceptions=False
        )


def test_with_tokens_any_address_may_be_served(tmp_path):
    """Diallers on other machines could not be served at all, or a missing file would let everybody in."""
    file = tmp_path / "tokens.json"
    flags = {"http.listen": "0.0.0.0:8080", "http.tokens": str(file)}
    assert "does not exist" in serving.problems(load(flags=flags, environ={}))[0]
    issue(file, "dialler", "check")
    assert serving.problems(load(flags=flags, environ={})) == []
