"""Timestamps by RFC 3161: a third party states when a digest existed. `openssl` makes the questions and checks the answers,
so anybody can check them without us: `openssl ts -verify -data FILE -in FILE.tsr -CAfile CA`.

A library would be another wheel to pin and to trust. `openssl` is on every Debian image with certificate authorities.
"""

import re
import ssl
import subprocess
import tempfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx

from stream_scrub.config.evidence import EvidenceSettings
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.model import Deadline
from stream_scrub.socket_cut import SocketCut

SUFFIX = ".tsr"  # of the file that has the timestamp of another one
_ANSWER_MAX = 32_768  # bytes: signature and certificates take 2 to 8 KB
_ASK_S = 20.0
_RUN_S = 20.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = re.compile(
    r"^Time stamp: (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d{4}) GMT$", re.MULTILINE
)


class Timestamp(NamedTuple):
    """The server's answer (DER), and when it says that the digest existed."""

    answer: bytes
    at: datetime


class Timestamps:
    """A timestamp server, and the file of the authorities that its certificate must come from (PEM)."""

    def __init__(self, url: str, authorities: str) -> None:
        self._url, self._authorities = url, authorities

    @classmethod
    def of(cls, settings: EvidenceSettings) -> "Timestamps | None":
        """The timestamp server of the settings; None without one."""
        return cls(settings.timestamp_url, settings.timestamp_ca) if settings.timestamp_url else None

    def stamp(self, content: bytes) -> Timestamp:
        """Have the digest of a content stamped. Blocks for up to a minute. Raises Unavailable, Refused."""
        digest = sha256(content).hexdigest()
        with tempfile.TemporaryDirectory() as name:
            question = Path(name, "question")
            _openssl("-query", "-digest", digest, "-sha256", "-cert", "-out", str(question))
            answer = self._ask(question.read_bytes())
            try:
                at = moment_of(answer)
                _verify(answer, self._authorities, "-queryfile", str(question))
            except ValueError as error:
                raise Unavailable(f"the timestamp server {self._url} answers wrongly: {error}") from error
        return Timestamp(answer, at)

    def _ask(self, question: bytes) -> bytes:
        who, deadline, answer, cut = (
            f"the timestamp server {self._url}",
            Deadline.after(_ASK_S),
            b"",
            SocketCut(),
        )
        headers = {"content-type": "application/timestamp-query", "accept-encoding": "identity"}
        try:
            with (
                httpx.Client(trust_env=False, timeout=_ASK_S) as http,
                cut.at(deadline),
                http.stream(
                    "POST", self._url, content=question, headers=headers, extensions={"trace": cut.note}
                ) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise Unavailable(f"{who} answers {response.status_code}")
                for piece in response.iter_raw():
                    answer += piece
                    if len(answer) > _ANSWER_MAX or deadline.passed:
                        raise Unavailable(f"{who} answers with too much, or too slowly")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{who} does not answer: {type(error).__name__}") from error
        return answer


def moment_of(answer: bytes) -> datetime:
    """When the server says that it stamped the digest; nothing is checked. Raises ValueError for what is no timestamp."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "answer")
        file.write_bytes(answer)
        done = _openssl("-reply", "-in", str(file), "-text")
    match = _TIME.search(done.stdout)
    if done.returncode or match is None or match[1] not in _MONTHS:
        raise ValueError("it is not a timestamp")
    month = _MONTHS.index(match[1]) + 1
    day, hour, minute, second, year = (int(match[at]) for at in range(2, 7))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def check(answer: bytes, content: bytes, authorities: str) -> datetime:
    """When a content was stamped, if the answer is of a server whose certificate came from these authorities and was valid
    then. Raises ValueError that says what is wrong, and Refused."""
    at = moment_of(answer)
    _verify(answer, authorities, "-digest", sha256(content).hexdigest(), "-attime", str(int(at.timestamp())))
    return at


def _verify(answer: bytes, authorities: str, *of: str) -> None:
    """Raises ValueError, and Refused for a file without authorities: it says nothing of the timestamp."""
    try:
        ssl.create_default_context(cafile=authorities)
    except OSError as error:
        fault = error.strerror or "it has no certificate (PEM)"
        raise Refused(f"evidence.timestamp_ca: {authorities}: {fault}") from error
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "answer")
        file.write_bytes(answer)
        done = _openssl("-verify", *of, "-in", str(file), "-CAfile", authorities)
    if done.returncode:
        if "imprint mismatch" in done.stderr:
            raise ValueError("it is the timestamp of something else")
        why = re.findall(r"Verify error:(.+)|:([^:\n]+):[^:\n]*:\d+:", done.stderr)
        said = "; ".join(dict.fromkeys(one or other for one, other in why)) or "it is not valid"
        raise ValueError(f"its signature cannot be confirmed: {said}")


def _openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `openssl ts`. Raises Refused without it."""
    try:
        return subprocess.run(  # noqa: S603 - no shell; the arguments are ours, and digests
            ["openssl", "ts", *arguments],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_RUN_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise Refused("timestamps need the command `openssl`: install it") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable("`openssl ts` does not end") from error
