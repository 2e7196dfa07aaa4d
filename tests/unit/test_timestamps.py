"""What a timestamp proves, with a server of openssl on loopback."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from stream_scrub import timestamps
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.timestamps import Timestamps
from tests.support.fakes.timestamp_server import TimestampServer
from tests.support.fakes.web import Web
from tests.support.golden.examples import FOLDER
from tests.support.golden.files import GOLDEN

pytestmark = pytest.mark.process


@pytest.fixture
def server(tmp_path):
    return TimestampServer(tmp_path / "tsa")


@pytest.fixture
def web(server):
    with Web(server) as web:
        yield web


def test_a_timestamp_is_of_its_content_and_of_its_server(server, web, tmp_path):
    """Anybody could put another proof beside a timestamp, or make both."""
    before = datetime.now(UTC).replace(microsecond=0)
    answer, at = Timestamps(web.url, str(server.ca)).stamp(b"the proof")
    assert before <= at <= datetime.now(UTC) + timedelta(seconds=1)
    assert timestamps.check(answer, b"the proof", str(server.ca)) == at
    with pytest.raises(ValueError, match="something else"):
        timestamps.check(answer, b"another proof", str(server.ca))
    with pytest.raises(ValueError, match="cannot be confirmed"):
        timestamps.check(answer, b"the proof", str(TimestampServer(tmp_path / "other").ca))
    with pytest.raises(ValueError, match="cannot be confirmed"):
        timestamps.check(answer[:-1] + bytes([answer[-1] ^ 1]), b"the proof", str(server.ca))


def test_a_file_without_authorities_is_no_fault_of_a_timestamp(tmp_path):
    """After a slip in a path the whole log would be called corrupt."""
    answer = (GOLDEN / "timestamps" / "example.tsr").read_bytes()
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(Refused, match=rf"evidence\.timestamp_ca: .*{name}"):
            timestamps.check(answer, b"the proof", str(tmp_path / name))


def test_a_timestamp_of_years_ago_is_still_confirmed():
    """Each new release of openssl, and the end of each certificate, would make old evidence worthless."""
    answer = (GOLDEN / "timestamps" / "example.tsr").read_bytes()
    seal = json.loads((FOLDER / "rules-2.seal.json").read_bytes())
    assert base64.b64decode(seal["timestamp"]) == answer
    head = seal["read"]["log_chain"].encode()
    at = timestamps.check(answer, head, str(GOLDEN / "timestamps" / "ca.pem"))
    assert at.date().isoformat() == "2026-12-01"


def test_an_answer_of_an_earlier_question_is_refused(server, web):
    """Somebody between us and the server could give a timestamp of last year for today's."""
    ours = Timestamps(web.url, str(server.ca))
    earlier, _ = ours.stamp(b"the proof")
    web.answer = lambda _: (200, earlier)
    with pytest.raises(Unavailable, match="answers wrongly"):
        ours.stamp(b"the proof")


@pytest.mark.parametrize("answer", [(503, b""), (200, b"<html>"), (200, b"x" * 100_000), (302, b"")])
def test_a_server_that_gives_no_timestamp_says_so(server, web, answer):
    """A command would end with a fault, or a proof would have an empty timestamp."""
    web.answer = lambda _: answer
    with pytest.raises(Unavailable, match=f"the timestamp server {web.url}"):
        Timestamps(web.url, str(server.ca)).stamp(b"the proof")
    with pytest.raises(Unavailable, match="does not answer"):
        Timestamps("http://127.0.0.1:9", str(server.ca)).stamp(b"the proof")
