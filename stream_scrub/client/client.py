"""`Client`, and `AsyncClient` for asyncio: connections, tries and deadlines.

The tries are our own, because httpx repeats failed connections only. Here 503 and `Retry-After` count as well, under
one deadline for the whole call.
"""

import asyncio
import random
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from stream_scrub import strict_json
from stream_scrub.call import FACTS, Call, need_call
from stream_scrub.model import Verdict
from stream_scrub.stamp import Stamp, Unknown, decode

Question = Mapping[str, Any]
AT_APART_MAX_S = 300.0  # between a stamp's moment and this machine's clock
_LAST_ZONE = timedelta(hours=12)  # a day ends last on earth where clocks are so far behind UTC
_LAST, _LEAST = 6, 4  # digits that are compared; with fewer numbers cannot be distinguished
_WORDS = re.compile(r"[^\W\d_]+|[#;,]")  # the start of an extension, or text around the number
_KEYPAD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_NUMBER = re.compile(r"\d(?:[\s().+-]*\d){5,}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that the brokers have: its topic, partition and offset."""

    topic: str
    partition: int
    offset: int


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer that came whole."""

    status: int
    body: bytes
    retry_after: str = ""


class _Stamps(msgspec.Struct):
    stamps: list[msgspec.Raw]


class _Problem(msgspec.Struct):
    detail: str = ""
    cause: str | None = None


_ONCE = strict_json.decoder(strict_json.once)
_STAMPS = msgspec.json.Decoder(_Stamps)
_PROBLEM = msgspec.json.Decoder(_Problem)
_ACCEPTED = msgspec.json.Decoder(Accepted)


def result_of(reply: Reply | Unknown, number: Any) -> Stamp | Unknown:
    """The result of one question about a number, or about the numbers of one person."""
    if isinstance(reply, Unknown):
        return reply
    return _checked(reply.body, number) if reply.status == 200 else _problem(reply)


def results_of(reply: Reply | Unknown, page: list[Question]) -> list[Stamp | Unknown]:
    """The result of each question of a page."""
    if not isinstance(reply, Unknown) and reply.status == 200:
        try:
            stamps = _STAMPS.decode(reply.body).stamps
        except (ValueError, RecursionError):
            stamps = []
        if len(stamps) == len(page):
            pairs = zip(stamps, page, strict=True)
            return [_checked(bytes(stamp), question.get("number")) for stamp, question in pairs]
        reply = Unknown("the answer does not fit the question", reply.status)
    return [reply if isinstance(reply, Unknown) else _problem(reply)] * len(page)


def accepted_of(reply: Reply | Unknown) -> Accepted | Unknown:
    """What became of a request."""
    if isinstance(reply, Unknown) or reply.status != 202:
        return reply if isinstance(reply, Unknown) else _problem(reply)
    try:
        return _ACCEPTED.decode(reply.body)
    except (ValueError, RecursionError):
        return Unknown("the answer names no place", 202)


def _checked(body: bytes, number: Any) -> Stamp | Unknown:
    """The stamp, if it is sound, about this number, and of now: proxies keep answers and mix them up."""
    try:
        stamp = decode(body)
        _ONCE.decode(body.decode())
    except (ValueError, RecursionError):
        return Unknown("the answer is not a stamp", 200)
    if stamp.reason.verdict is not stamp.verdict:
        return Unknown("the answer contradicts itself", 200)
    judged = [
        each for each in (stamp.number, *(entry.number for entry in stamp.numbers), *stamp.callable) if each
    ]
    if not _is_about(judged, number, stamp.verdict):
        return Unknown("the answer is about another number", 200)
    now = datetime.now(UTC)
    if abs((now - stamp.at).total_seconds()) > AT_APART_MAX_S:
        return Unknown("the answer is from another time: a proxy cached it, or a clock is wrong", 200)
    if stamp.until is not None and stamp.until < (now - _LAST_ZONE).date():
        return Unknown("the answer has lapsed", 200)
    return stamp


def _is_about(judged: list[str], number: Any, verdict: Verdict) -> bool:
    """Whether a stamp's numbers are those of the question, as far as their last digits show: the client has no
    numbering plan. Where the question has too few digits to compare, no answer is a permission."""
    numbers = [number] if isinstance(number, str | int) else number or []
    ends = [end for each in numbers for end in _last_digits(each)]
    if not judged or not ends:
        return verdict is Verdict.BLOCKED
    return all(any(each.endswith(end) for end in ends) for each in judged)


def _last_digits(number: object) -> list[str]:
    """What the number may end with, as it was typed: the last digits of each piece between words, and those with letters
    for digits, as in 1-800-FLOWERS. Digits of any script count."""
    text = str(number).lower()
    pieces = [*_WORDS.split(text), text.translate(_KEYPAD)]
    digits = ("".join(str(unicodedata.decimal(sign, "")) for sign in piece).lstrip("0") for piece in pieces)
    return [number[-_LAST:] for number in digits if len(number) >= _LEAST]


def _problem(reply: Reply) -> Unknown:
    """The server's problem in its words, without numbers: they may end in the dialler's log."""
    try:
        problem = _PROBLEM.decode(reply.body)
    except (ValueError, RecursionError):
        problem = _Problem()
    detail = _NUMBER.sub("...", problem.detail)
    return Unknown(detail or f"the server answered {reply.status}", reply.status, problem.cause)


_PAGE = 10_000  # prospects that the API takes in one request
_BODY_BYTES_MAX = 67_108_864
_FIRST_PAUSE_S = 0.05
_PAUSE_MAX_S = 1.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_ANSWER = Unknown("no answer came in time")
_PACKED = Unknown("the answer is compressed, and the client did not accept that")

Numbers = str | int | Sequence[str | int]


class _Left(dict[str, float]):
    """httpx's time-outs: for each step of a request, the time until the deadline."""

    def __init__(self, ends: float) -> None:
        super().__init__()
        self._ends = ends

    def get(self, _step: str, _default: object = None) -> float:
        return max(0.001, self._ends - time.monotonic())


class _Tries:
    """The tries of one request, until its deadline (`time.monotonic`). `best` is the result so far."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.best: Reply | Unknown = _NO_ANSWER
        self._count = 0

    @property
    def left_s(self) -> float:
        return self.ends - time.monotonic()

    def take(self, outcome: Reply | Unknown) -> float | None:
        """Note the outcome of a try. Returns the pause before the next one; None if there is to be none."""
        if isinstance(outcome, Reply) or not isinstance(self.best, Reply):
            self.best = outcome  # a later one, but rather a server's answer than none
        pause = self._pause()
        self._count += 1
        is_final = isinstance(self.best, Reply) and self.best.status not in _TRY_AGAIN
        return None if is_final or pause >= self.left_s else pause

    def _pause(self) -> float:
        """As long as the server says, else longer each time, and not the same for all clients."""
        own = min(_PAUSE_MAX_S, _FIRST_PAUSE_S * 2.0**self._count) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        retry_after = self.best.retry_after if isinstance(self.best, Reply) else ""
        return max(own, float(retry_after)) if retry_after.isascii() and retry_after.isdigit() else own


_Asked = msgspec.defstruct(
    "_Asked",
    [
        ("number", str | int | None | list[str | int | None]),
        ("region", str | None, None),
        *((name, fact.wire, None) for name, fact in FACTS.items()),
    ],
    forbid_unknown_fields=True,
)
# Lays the type out: two threads that do so at once, in `convert`, crash the process.
msgspec.json.Decoder(_Asked)


def _need_right(question: Mapping[str, Any]) -> None:
    """Raises ValueError for a question that the server would refuse for ever. The message has no values."""
    try:
        msgspec.convert(question, _Asked)
    except msgspec.ValidationError as error:
        members = ", ".join(_Asked.__struct_fields__)
        fault = _NUMBER.sub("...", str(error))
        raise ValueError(f"{fault}; a question may have {members} (docs/check-api.md)") from None


class _Base:
    """What both clients share: from arguments to bytes."""

    def __init__(self, url: str, token: str | None, deadline_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url: write the server's address with its scheme, as in http://127.0.0.1:8080")
        self._check = f"{url.rstrip('/')}/v1/check"
        self._requests = f"{url.rstrip('/')}/v1/requests"
        self._deadline_s = deadline_s
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            # A compressed answer of a few bytes may be a large one.
            "Accept-Encoding": "identity",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def _ends(self) -> float:
        return time.monotonic() + self._deadline_s


def _body(number: object, others: Mapping[str, Any]) -> bytes:
    stated = {name: value for name, value in others.items() if value is not None}
    return msgspec.json.encode({"number": number, **stated})


def _attempt(number: str, attempt_id: str, refused: bool, at: datetime | None, **more: str | None) -> bytes:
    """Raises ValueError for a wrong argument."""
    _question(number, Call(), more["region"])
    if at is not None and at.tzinfo is None:
        raise ValueError("at: give it a time zone")
    request = {"request": "refusal" if refused else "attempt", "id": str(attempt_id)}
    moment = (at or datetime.now(UTC)).isoformat()
    return _body(number, {**request, "at": moment, **more})


def _question(number: object, call: Call, region: str | None) -> dict[str, Any]:
    """Raises ValueError for a wrong argument."""
    need_call(call)
    number = [*number] if isinstance(number, Sequence) and not isinstance(number, str | bytes) else number
    question = {"number": number, **({} if region is None else {"region": region}), **call.members()}
    _need_right(question)
    return question


def _pages(questions: Iterable[Question | str | int], call: Call, region: str | None) -> list[list[Question]]:
    shared = _question(None, call, region)
    members: list[Question] = [
        question if isinstance(question, Mapping) else {**shared, "number": question}
        for question in questions
    ]
    for member in members:
        _need_right(member)
    return [members[at : at + _PAGE] for at in range(0, len(members), _PAGE)]


def _failed(error: Exception) -> Unknown:
    """The kind of a failure. Its text is left out: it may have the number."""
    return Unknown(f"the server could not be reached ({type(error).__name__})")


def _reply(answer: httpx.Response, body: bytes) -> Reply:
    return Reply(answer.status_code, body, answer.headers.get("retry-after", ""))


def _is_packed(answer: httpx.Response) -> bool:
    return answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}


class Client(_Base):
    """Asks the check API at `url`. Failures that may pass are tried again until `deadline_s` seconds are over, for the
    whole of a call; a body that comes in drops may take as long again. `token` is a bearer token; `verify` is as for
    httpx (True, or an `ssl.SSLContext` that trusts your own authority). Close it, or use it as a context. Raises
    ValueError for a wrong argument, here and in every call."""

    def __init__(
        self, url: str, token: str | None = None, *, deadline_s: float = 2.0, verify: Any = True
    ) -> None:
        super().__init__(url, token, deadline_s)
        self._http = httpx.Client(verify=verify, headers=self._headers, trust_env=False)

    def check(self, number: Numbers, call: Call = Call(), *, region: str | None = None) -> Stamp | Unknown:
        """The verdict on one number, or on a person with several. Never raises for what happens on the way; raises
        ValueError for a wrong argument."""
        body = msgspec.json.encode(_question(number, call, region))
        return result_of(self._ask(self._check, body, self._ends()), number)

    def check_many(
        self, questions: Iterable[Question | str | int], call: Call = Call(), *, region: str | None = None
    ) -> list[Stamp | Unknown]:
        """A verdict for each question, in order. A question is a number, asked with `call` and `region`, or a mapping
        with members of its own (docs/check-api.md). One request holds 10 000; if it fails, each of them is Unknown."""
        ends, results = self._ends(), []
        for page in _pages(questions, call, region):
            body = msgspec.json.encode({"prospects": page})
            results += results_of(self._ask(self._check, body, ends), page)
        return results

    def opt_out(
        self,
        number: Numbers,
        *,
        region: str | None = None,
        scope: str | None = None,
        source: str | None = None,
    ) -> Accepted | Unknown:
        """Report that a person does not want to be called, by any campaign or by `scope` alone. Accepted: it counts for
        every worker and server within a second. Unknown: it may be written or not; report it again, which does no harm.
        """
        _question(number, Call(), region)
        members = {"request": "opt-out", "region": region, "scope": scope, "source": source}
        return accepted_of(self._ask(self._requests, _body(number, members), self._ends()))

    def attempt(
        self,
        number: str,
        attempt_id: str,
        *,
        refused: bool = False,
        at: datetime | None = None,
        region: str | None = None,
        residence: str | None = None,
        campaign: str | None = None,
        outcome: str | None = None,
    ) -> Accepted | Unknown:
        """Report an attempt to call, with the call's own id, and whether the person refused. `at`, with a zone: when it
        began; without it, now. Unknown: report it again with the same id, which counts once (docs/dialler.md)."""
        more = {"region": region, "residence": residence, "campaign": campaign, "outcome": outcome}
        body = _attempt(number, attempt_id, refused, at, **more)
        return accepted_of(self._ask(self._requests, body, self._ends()))

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, url: str, body: bytes, ends: float) -> Reply | Unknown:
        tries = _Tries(ends)
        while tries.left_s > 0:
            try:
                outcome = self._once(url, body, ends)
            except httpx.HTTPError as error:
                outcome = _failed(error)
            pause = tries.take(outcome)
            if pause is None:
                break
            time.sleep(pause)
        return tries.best

    def _once(self, url: str, body: bytes, ends: float) -> Reply | Unknown:
        request = self._http.build_request("POST", url, content=body, extensions={"timeout": _Left(ends)})
        answer = self._http.send(request, stream=True)
        try:
            if _is_packed(answer):
                return _PACKED
            whole = bytearray()
            for piece in answer.iter_raw():
                whole += piece
                if time.monotonic() >= ends or len(whole) > _BODY_BYTES_MAX:
                    return _NO_ANSWER
            return _reply(answer, bytes(whole))
        finally:
            answer.close()


class AsyncClient(_Base):
    """The same for asyncio; here `deadline_s` holds for a body in drops as well."""

    def __init__(
        self, url: str, token: str | None = None, *, deadline_s: float = 2.0, verify: Any = True
    ) -> None:
        super().__init__(url, token, deadline_s)
        # No time limit of httpx's own: the deadline of the call ends every request.
        self._http = httpx.AsyncClient(verify=verify, headers=self._headers, trust_env=False, timeout=None)  # noqa: S113

    async def check(
        self, number: Numbers, call: Call = Call(), *, region: str | None = None
    ) -> Stamp | Unknown:
        """As `Client.check`."""
        body = msgspec.json.encode(_question(number, call, region))
        return result_of(await self._ask(self._check, body, self._ends()), number)

    async def check_many(
        self, questions: Iterable[Question | str | int], call: Call = Call(), *, region: str | None = None
    ) -> list[Stamp | Unknown]:
        """As `Client.check_many`."""
        ends, results = self._ends(), []
        for page in _pages(questions, call, region):
            body = msgspec.json.encode({"prospects": page})
            results += results_of(await self._ask(self._check, body, ends), page)
        return results

    async def opt_out(
        self,
        number: Numbers,
        *,
        region: str | None = None,
        scope: str | None = None,
        source: str | None = None,
    ) -> Accepted | Unknown:
        """As `Client.opt_out`."""
        _question(number, Call(), region)
        members = {"request": "opt-out", "region": region, "scope": scope, "source": source}
        return accepted_of(await self._ask(self._requests, _body(number, members), self._ends()))

    async def attempt(
        self,
        number: str,
        attempt_id: str,
        *,
        refused: bool = False,
        at: datetime | None = None,
        region: str | None = None,
        residence: str | None = None,
        campaign: str | None = None,
        outcome: str | None = None,
    ) -> Accepted | Unknown:
        """As `Client.attempt`."""
        more = {"region": region, "residence": residence, "campaign": campaign, "outcome": outcome}
        body = _attempt(number, attempt_id, refused, at, **more)
        return accepted_of(await self._ask(self._requests, body, self._ends()))

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, url: str, body: bytes, ends: float) -> Reply | Unknown:
        tries = _Tries(ends)
        while tries.left_s > 0:
            try:
                async with asyncio.timeout(tries.left_s):
                    outcome = await self._once(url, body)
            except TimeoutError:
                break
            except httpx.HTTPError as error:
                outcome = _failed(error)
            pause = tries.take(outcome)
            if pause is None:
                break
            await asyncio.sleep(pause)
        return tries.best

    async def _once(self, url: str, body: bytes) -> Reply | Unknown:
        async with self._http.stream("POST", url, content=body) as answer:
            if _is_packed(answer):
                return _PACKED
            whole = bytearray()
            async for piece in answer.aiter_raw():
                whole += piece
                if len(whole) > _BODY_BYTES_MAX:
                    return _NO_ANSWER
            return _reply(answer, bytes(whole))
