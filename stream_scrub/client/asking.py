"""`Client`, and `AsyncClient` for asyncio: connections, tries and deadlines. Both may be shared, by threads or by tasks."""

import asyncio
import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import httpx
import msgspec

from stream_scrub.client.answers import (
    Accepted,
    Answer,
    Got,
    Question,
    Unknown,
    accepted_of,
    answer_of,
    answers_of,
)

_AT_ONCE = 10_000  # prospects that the API takes in one question
_ANSWER_BYTES_MAX = 67_108_864
_FIRST_PAUSE_S = 0.05
_PAUSE_MAX_S = 1.0
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_ANSWER = Unknown("no answer came in time")
_PACKED = Unknown("the answer is packed, and nobody asked for that")


class _Left(dict[str, float]):
    """What is left until a moment, for whichever step of a request asks."""

    def __init__(self, ends: float) -> None:
        super().__init__()
        self._ends = ends

    def get(self, _step: str, _default: object = None) -> float:
        return max(0.001, self._ends - time.monotonic())


class _Base:
    """What both clients have in common: from arguments to bytes, and from bytes to outcomes."""

    def __init__(self, url: str, token: str | None, deadline_s: float) -> None:
        self._check = f"{url.rstrip('/')}/v1/check"
        self._requests = f"{url.rstrip('/')}/v1/requests"
        self._deadline_s = deadline_s
        # Nobody is to pack an answer: a small one could then be a large one.
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def _ends(self, deadline_s: float | None) -> float:
        return time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)


def _question(number: object, given: Mapping[str, Any]) -> bytes:
    said = {name: value for name, value in given.items() if value is not None}
    return msgspec.json.encode({"number": number, **said})


def _said(*facts: object) -> dict[str, object]:
    return dict(zip(("region", "purpose", "contract", "campaign", "channel"), facts, strict=True))


def _pages(questions: Iterable[Question | str | int]) -> list[list[Question]]:
    asked: list[Question] = [each if isinstance(each, Mapping) else {"number": each} for each in questions]
    return [asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE)]


def _failed(error: Exception) -> Unknown:
    """The kind of a failure; its text may name what was asked."""
    return Unknown(f"the server could not be asked ({type(error).__name__})")


def _pause(tries: int, found: Got | Unknown) -> float:
    """How long to wait before the next try: as long as the server says, else longer each time, and never all clients
    together."""
    own = min(_PAUSE_MAX_S, _FIRST_PAUSE_S * 2.0**tries) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    told = found.retry_after if isinstance(found, Got) else ""
    return max(own, float(told)) if told.isascii() and told.isdigit() else own


def _better(one: Got | Unknown, other: Got | Unknown) -> Got | Unknown:
    """Of two tries, the later one, but rather what a server said than that it said nothing."""
    return one if isinstance(one, Got) and not isinstance(other, Got) else other


def _got(answer: httpx.Response, body: bytes) -> Got:
    return Got(answer.status_code, body, answer.headers.get("retry-after", ""))


def _is_packed(answer: httpx.Response) -> bool:
    """A packed answer of a few bytes may be a large one."""
    return answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}


def _is_final(found: Got | Unknown) -> bool:
    return isinstance(found, Got) and found.status not in _AGAIN


class Client(_Base):
    """Asks the check API at `url`. Failures that may pass are tried again until `deadline_s` seconds are over, for the
    whole of a call; a body that comes in drops may take as long again. `token` is a bearer token; `verify` is as for
    httpx (True, or an `ssl.SSLContext` that trusts your own authority). Close it, or use it as a context."""

    def __init__(
        self, url: str, token: str | None = None, *, deadline_s: float = 2.0, verify: Any = True
    ) -> None:
        super().__init__(url, token, deadline_s)
        self._http = httpx.Client(verify=verify, headers=self._headers, trust_env=False)

    def check(
        self,
        number: str | int | Sequence[str | int],
        *,
        region: str | None = None,
        purpose: str | Sequence[str] | None = None,
        contract: object = None,
        campaign: str | Sequence[str] | None = None,
        channel: str | None = None,
        deadline_s: float | None = None,
        **others: object,
    ) -> Answer | Unknown:
        """The verdict on one number, or on a person with several. The other arguments are what a prospect would say
        about the call, `others` those that docs/check-api.md has besides. Never raises for what happens on the way."""
        said = _said(region, purpose, contract, campaign, channel) | others
        body, ends = _question(number, said), self._ends(deadline_s)
        return answer_of(self._asked(self._check, body, ends), number)

    def check_many(
        self, questions: Iterable[Question | str | int], *, deadline_s: float | None = None
    ) -> list[Answer | Unknown]:
        """A verdict for each, in order: a number, or a mapping with the members of a question. 10 000 are asked at once; where that fails, each of them is Unknown."""
        ends, found = self._ends(deadline_s), []
        for page in _pages(questions):
            body = msgspec.json.encode({"prospects": page})
            found += answers_of(self._asked(self._check, body, ends), page)
        return found

    def opt_out(
        self,
        number: str | int | Sequence[str | int],
        *,
        region: str | None = None,
        scope: str | None = None,
        source: str | None = None,
        deadline_s: float | None = None,
    ) -> Accepted | Unknown:
        """Say that somebody does not want to be called, by any campaign or by `scope` alone. It counts for every
        worker and server within a second of Accepted. Unknown: it may be written or not; say it again, which does no
        harm. Tries have one Idempotency-Key."""
        said = {"request": "opt-out", "region": region, "scope": scope, "source": source}
        body, key = _question(number, said), {"Idempotency-Key": uuid.uuid4().hex}
        return accepted_of(self._asked(self._requests, body, self._ends(deadline_s), key))

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(
        self, url: str, body: bytes, ends: float, headers: Mapping[str, str] | None = None
    ) -> Got | Unknown:
        found: Got | Unknown = _NO_ANSWER
        tries = 0
        while time.monotonic() < ends:
            try:
                found = _better(found, self._once(url, body, ends, headers))
            except httpx.HTTPError as error:
                found = _better(found, _failed(error))
            pause = _pause(tries, found)
            if _is_final(found) or time.monotonic() + pause >= ends:
                break
            time.sleep(pause)
            tries += 1
        return found

    def _once(self, url: str, body: bytes, ends: float, headers: Mapping[str, str] | None) -> Got | Unknown:
        request = self._http.build_request(
            "POST", url, content=body, headers=headers, extensions={"timeout": _Left(ends)}
        )
        answer = self._http.send(request, stream=True)
        try:
            if _is_packed(answer):
                return _PACKED
            whole = bytearray()
            for piece in answer.iter_raw():
                whole += piece
                if time.monotonic() >= ends or len(whole) > _ANSWER_BYTES_MAX:
                    return _NO_ANSWER
            return _got(answer, bytes(whole))
        finally:
            answer.close()


class AsyncClient(_Base):
    """The same for asyncio; `deadline_s` is kept to the letter."""

    def __init__(
        self, url: str, token: str | None = None, *, deadline_s: float = 2.0, verify: Any = True
    ) -> None:
        super().__init__(url, token, deadline_s)
        # No time limit of httpx's own: every question is ended by the deadline of its call.
        self._http = httpx.AsyncClient(verify=verify, headers=self._headers, trust_env=False, timeout=None)  # noqa: S113

    async def check(
        self,
        number: str | int | Sequence[str | int],
        *,
        region: str | None = None,
        purpose: str | Sequence[str] | None = None,
        contract: object = None,
        campaign: str | Sequence[str] | None = None,
        channel: str | None = None,
        deadline_s: float | None = None,
        **others: object,
    ) -> Answer | Unknown:
        """As `Client.check`."""
        said = _said(region, purpose, contract, campaign, channel) | others
        body, ends = _question(number, said), self._ends(deadline_s)
        return answer_of(await self._asked(self._check, body, ends), number)

    async def check_many(
        self, questions: Iterable[Question | str | int], *, deadline_s: float | None = None
    ) -> list[Answer | Unknown]:
        """As `Client.check_many`."""
        ends, found = self._ends(deadline_s), []
        for page in _pages(questions):
            body = msgspec.json.encode({"prospects": page})
            found += answers_of(await self._asked(self._check, body, ends), page)
        return found

    async def opt_out(
        self,
        number: str | int | Sequence[str | int],
        *,
        region: str | None = None,
        scope: str | None = None,
        source: str | None = None,
        deadline_s: float | None = None,
    ) -> Accepted | Unknown:
        """As `Client.opt_out`."""
        said = {"request": "opt-out", "region": region, "scope": scope, "source": source}
        body, key = _question(number, said), {"Idempotency-Key": uuid.uuid4().hex}
        return accepted_of(await self._asked(self._requests, body, self._ends(deadline_s), key))

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _asked(
        self, url: str, body: bytes, ends: float, headers: Mapping[str, str] | None = None
    ) -> Got | Unknown:
        found: Got | Unknown = _NO_ANSWER
        tries = 0
        while time.monotonic() < ends:
            try:
                async with asyncio.timeout(ends - time.monotonic()):
                    found = _better(found, await self._once(url, body, headers))
            except TimeoutError:
                return _better(found, _NO_ANSWER)
            except httpx.HTTPError as error:
                found = _better(found, _failed(error))
            pause = _pause(tries, found)
            if _is_final(found) or time.monotonic() + pause >= ends:
                break
            await asyncio.sleep(pause)
            tries += 1
        return found

    async def _once(self, url: str, body: bytes, headers: Mapping[str, str] | None) -> Got | Unknown:
        async with self._http.stream("POST", url, content=body, headers=headers) as answer:
            if _is_packed(answer):
                return _PACKED
            whole = bytearray()
            async for piece in answer.aiter_raw():
                whole += piece
                if len(whole) > _ANSWER_BYTES_MAX:
                    return _NO_ANSWER
            return _got(answer, bytes(whole))
