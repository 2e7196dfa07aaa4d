"""Targets: a system over HTTP, as its connector says, or a folder of CSV files.

A target never raises for what the other side does: an answer that does not prove the work was done is a failure.
"""

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from stream_scrub.atomic_file import atomic_file
from stream_scrub.config import shown_address
from stream_scrub.config.settings import FanoutTarget
from stream_scrub.fanout import connector
from stream_scrub.fanout.connector import Connector, Step
from stream_scrub.fanout.events import Event, EventType
from stream_scrub.model import Deadline
from stream_scrub.numbering import e164, split
from stream_scrub.socket_cut import SocketCut
from stream_scrub.texts import masked, names_a_number

_STEP_S = 15.0
_ANSWER_MAX = 8 * 1024
_SHOWN_MAX = 200
# About the system, not about one number; 3xx and 5xx too.
_AWAY = frozenset({401, 403, 404, 405, 407, 408, 410, 425, 429})
FOLDER = "folder"
_FOLDER_BATCH = 1000
_INVENTED = 33_199_001_234  # ARCEP keeps 01 99 00 for films
_INVENTED_MS = 1_764_000_000_000
_COLUMNS = ("id", "event", "number", "list", "register", "reason", "at")


class DryRequest(NamedTuple):
    """A request as a target would get it, with an invented number and without secrets."""

    target: str
    event: str
    request: str  # its method and address
    headers: Mapping[str, str]
    body: str


class Delivery(NamedTuple):
    """What came of a delivery."""

    done: bool
    answer: str  # the last one, shortened and without numbers
    confirmed: bool = False  # it was read back
    away: bool = False  # nothing can be delivered now
    wait_s: float = 0.0  # as the target asks


def problems_of(name: str, settings: FanoutTarget) -> list[str]:
    """What is wrong with a target's settings."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name) or names_a_number(name):
        return ["fanout.targets: name each in lower-case letters, digits and hyphens, as in dialler-1"]
    event_names = {event.replace("-", "_") for event in _events_of(settings)}
    problems = [] if event_names else ["gets nothing: set lists or recalls"]
    if settings.connector == FOLDER:
        path = settings.settings.get("path")
        problems += [] if path and Path(path).is_dir() else ["settings.path is not a folder"]
        return [f"fanout.targets.{name}: {problem}" for problem in problems]
    try:
        loaded = connector.load(settings.connector)
    except ValueError as error:
        return [f"fanout.targets.{name}: connector {settings.connector} {error}"]
    problems += [
        f"{settings.connector} has no {each.replace('_', '-')}"
        for each in sorted(event_names)
        if not getattr(loaded, each)
    ]
    problems += [f"{settings.connector}: {fault}" for fault in connector.faults(loaded)]
    values = {**loaded.settings, **settings.settings}
    problems += [f"settings.{key} is missing" for key, value in values.items() if not value]
    problems += [
        f"settings.{key} is unknown to {settings.connector}"
        for key in sorted(settings.settings.keys() - loaded.settings.keys())
    ]
    problems += [
        f"secrets.{key} is missing: the path of a file"
        for key in loaded.secrets
        if key not in settings.secrets
    ]
    problems += [
        f"lists.{key} is empty" for key, value in settings.lists.items() if not (value or loaded.list)
    ]
    if settings.lifts and len({each or loaded.list for each in settings.lists.values()}) < len(
        settings.lists
    ):
        problems.append(
            "with lifts, each register needs its own list: a number may be lifted in one register only"
        )
    if not problems:
        target = HttpTarget(settings, loaded)
        problems += target.unsendable()
        target.close()
    return [f"fanout.targets.{name}: {problem}" for problem in problems]


def target_of(settings: FanoutTarget) -> "HttpTarget | FolderTarget":
    """The target, whose settings have no problem."""
    if settings.connector == FOLDER:
        return FolderTarget(settings)
    return HttpTarget(settings, connector.load(settings.connector))


def dry_delivery(name: str, settings: FanoutTarget) -> list[DryRequest]:
    """The requests of a target whose settings have no problem; nothing is sent."""
    target = target_of(settings)
    requests = [DryRequest(name, *dry_request) for dry_request in target.dry_requests()]
    target.close()
    return requests


def _invented(type_: EventType, settings: FanoutTarget) -> Event:
    register, list_ = next(iter(settings.lists.items()), ("internal", ""))
    if type_ == "recalled":
        list_ = ""
    return Event(type_, _INVENTED, list_, register, "requests", _INVENTED_MS, ("log", 0), (0, 0), 0)


def _events_of(settings: FanoutTarget) -> list[EventType]:
    """The events that a target gets."""
    types: list[EventType] = []
    if settings.lists:
        types.append("opted-out")
    if settings.lists and settings.lifts:
        types.append("lifted")
    if settings.recalls:
        types.append("recalled")
    return types


def _no_cookies() -> CookieJar:
    """With a new cookie in each answer, a target would fill the memory and its own requests."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Failure(Exception):
    """A step did not do its work."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(delivery.answer)
        self.delivery = delivery


class HttpTarget:
    """A system over HTTP. `batch`: how many events it takes at once. `transport`: in place of the network."""

    def __init__(
        self, settings: FanoutTarget, how: Connector, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.batch = how.batch
        self._settings, self._how = settings, how
        self._given = {**how.settings, **settings.settings}
        self._http = httpx.Client(
            trust_env=False, timeout=_STEP_S, transport=transport, cookies=_no_cookies()
        )
        self._cut = SocketCut()
        self._token = ""
        self._checked: set[str] = set()

    def deliver(self, events: Sequence[Event], deadline: Deadline) -> Delivery:
        """Deliver these events, which are of one type and list. Blocks until the deadline at most."""
        first = events[0]
        try:
            values = {**self._given, **self._secrets(), **self._values_of(events)}
            values["token"] = self._token = self._token or self._login(values, deadline)
            if first.list not in self._checked:
                self._check(values, deadline)
                self._checked.add(first.list)
            return self._run(self._steps(first.type), values, deadline)
        except _Failure as failure:
            return failure.delivery

    def _login(self, values: Mapping[str, Any], deadline: Deadline) -> str:
        if self._how.login is None:
            return ""
        _, found = self._ask(self._how.login, values, deadline)
        if not found:
            raise _Failure(Delivery(done=False, answer="no token in the answer to the login", away=True))
        return found[0]

    def _check(self, values: Mapping[str, Any], deadline: Deadline) -> None:
        """Make sure that the target knows the list. Nothing is delivered before."""
        try:
            self._run(self._how.check, values, deadline)
        except _Failure as failure:
            answer = f"the list {values['list']} is unknown to the target: {failure.delivery.answer}"
            raise _Failure(failure.delivery._replace(answer=answer, away=True)) from failure

    def _steps(self, type_: EventType) -> Sequence[Step]:
        return {"opted-out": self._how.opted_out, "lifted": self._how.lifted, "recalled": self._how.recalled}[
            type_
        ]

    def _run(self, steps: Sequence[Step], values: Mapping[str, Any], deadline: Deadline) -> Delivery:
        answer, confirmed, found = "", False, [""]
        for step in steps:
            if step.unless_list and values["list"] == step.unless_list:
                continue
            each_found: list[str] = []
            for one in found:
                answer, more = self._ask(step, {**values, "found": one}, deadline)
                each_found += more
            confirmed = confirmed or step.confirms
            found = each_found if step.find else [""]
        return Delivery(done=True, answer=answer, confirmed=confirmed)

    def _ask(self, step: Step, values: Mapping[str, Any], deadline: Deadline) -> tuple[str, list[str]]:
        """Make one request; return the answer for people, and the matched value. Raises _Failure."""
        if deadline.passed:
            raise _Failure(Delivery(done=False, answer="no answer: the steps take too long", away=True))
        try:
            with self._cut.at(deadline):
                status, wait_s, text = self._answer(step, values, deadline)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            if isinstance(error, httpx.LocalProtocolError | UnicodeError):
                self._token = ""  # no header takes it
            raise _Failure(
                Delivery(done=False, answer=f"no answer: {type(error).__name__}", away=True)
            ) from error
        masked_answer = masked(f"{status} {self._without_secrets(text, values)}")[:_SHOWN_MAX]
        is_done = 200 <= status < 300
        if step.done:
            is_done = any(connector.matches(each, values, text) for each in step.done)
        if not is_done:
            if status in {401, 403}:
                self._token = ""
            away = status in _AWAY or status // 100 in {3, 5}
            raise _Failure(Delivery(done=False, answer=masked_answer, away=away, wait_s=wait_s))
        return masked_answer, connector.found(step.find, values, text) if step.find else []

    def unsendable(self) -> list[str]:
        """The problems of requests that cannot be built from these settings."""
        problems = []
        for type_ in _events_of(self._settings):
            values = self._dry_values(type_)
            for step in self._all_steps(type_):
                try:
                    url = self._request(step, values).url
                except TypeError as error:  # a date of TOML, which JSON has not
                    problems.append(f"{type_}: {error}")
                except (ValueError, httpx.InvalidURL):  # their text may have a secret of the URL
                    problems.append(f"{type_}: an address or header cannot be sent")
                else:
                    if url.scheme not in {"http", "https"} or not url.host:
                        problems.append(f"{type_}: an address has no http:// or https:// and host")
        return list(dict.fromkeys(problems))

    def dry_requests(self) -> Iterator[tuple[str, str, Mapping[str, str], str]]:
        """Event, method and address, headers and body of each request for an invented number. What settings add to an
        address behind the host is not shown, nor are secrets."""
        self._given = {key: shown_address(value) for key, value in self._given.items()}
        for type_ in _events_of(self._settings):
            values = self._dry_values(type_)
            for step in self._all_steps(type_):
                request = self._request(step, values)
                headers = {
                    name: request.headers[name]
                    for name in ("content-type", *step.headers)
                    if name in request.headers
                }
                if step.basic:
                    headers["authorization"] = "Basic [secret]"
                if step.signed:
                    headers["webhook-signature"] = "[secret]"
                yield type_, f"{request.method} {request.url}", headers, request.content.decode()

    def _all_steps(self, type_: EventType) -> Iterator[Step]:
        if self._how.login is not None:
            yield self._how.login
        yield from self._how.check
        yield from self._steps(type_)

    def _dry_values(self, type_: EventType) -> dict[str, Any]:
        secrets = dict.fromkeys((*self._how.secrets, "token"), "[secret]")
        event = _invented(type_, self._settings)
        return {**self._given, **secrets, **self._values_of([event]), "found": "[found]"}

    def _answer(self, step: Step, values: Mapping[str, Any], deadline: Deadline) -> tuple[int, float, str]:
        """The status, the seconds that it asks to wait, and the text of the answer, of which only the start is read."""
        request = self._request(step, values, deadline)
        if step.signed:
            request.headers.update(self._signed(step, values, request.content))
        auth = (
            None
            if step.basic is None
            else httpx.BasicAuth(*(connector.filled(each, values) for each in step.basic))
        )
        read = bytearray()
        answer = self._http.send(request, auth=auth, stream=True)
        try:
            for chunk in answer.iter_raw():  # a body packed twice would take all memory
                read += chunk
                if deadline.passed:
                    raise httpx.ReadTimeout("the answer takes too long")
                if len(read) > _ANSWER_MAX:
                    break
        finally:
            answer.close()
        wait = answer.headers.get("retry-after", "")
        text = bytes(read[:_ANSWER_MAX]).decode("utf-8", "replace")
        return answer.status_code, float(wait) if wait.isdecimal() else 0.0, text

    def _request(
        self, step: Step, values: Mapping[str, Any], deadline: Deadline | None = None
    ) -> httpx.Request:
        """A request without its signature."""
        body = None if step.json is None else json.dumps(connector.filled(step.json, values)).encode()
        headers = {"accept-encoding": "identity", **connector.filled(step.headers, values)}
        headers |= {} if body is None else {"content-type": "application/json"}
        return self._http.build_request(
            step.method,
            connector.filled(step.url, values, in_url=frozenset(self._given)),
            content=body,
            data=connector.filled(step.form, values) or None,
            headers=headers,
            timeout=_STEP_S if deadline is None else max(0.1, deadline.left(_STEP_S)),
            extensions={"trace": self._cut.note},
        )

    @staticmethod
    def _signed(step: Step, values: Mapping[str, Any], body: bytes) -> dict[str, str]:
        now = int(time.time())
        try:
            signature = connector.signature(connector.filled(step.signed, values), values["id"], now, body)
        except ValueError as error:
            raise _Failure(
                Delivery(done=False, answer="the signing key is not whsec_ and base64", away=True)
            ) from error
        return {"webhook-id": values["id"], "webhook-timestamp": str(now), "webhook-signature": signature}

    def _secrets(self) -> dict[str, str]:
        """Read for each event, so that a changed one needs no restart. Raises _Failure."""
        try:
            return {key: Path(path).read_text().strip() for key, path in self._settings.secrets.items()}
        except (OSError, ValueError) as error:
            answer = f"a file of fanout.targets.*.secrets cannot be read: {type(error).__name__}"
            raise _Failure(Delivery(done=False, answer=answer, away=True)) from error

    def _without_secrets(self, text: str, values: Mapping[str, Any]) -> str:
        """A target may repeat the request, and answers get into receipts and logs."""
        words = [word for key in (*self._how.secrets, "token") for word in str(values.get(key, "")).split()]
        for word in sorted({*words, *(each.removeprefix("whsec_") for each in words)}, key=len, reverse=True):
            text = text.replace(word, "[secret]") if word else text
        return text

    def _values_of(self, events: Sequence[Event]) -> dict[str, Any]:
        first, form = events[0], self._settings.number or self._how.number
        numbers = [connector.in_form(event.number, form) for event in events]
        return {
            "id": first.id,
            "type": first.type,
            "number": numbers[0],
            "numbers": numbers,
            "calling_code": str(split(first.number)[0]),
            "list": first.list or self._how.list,
            "register": first.register,
            "reason": first.reason,
            "at": first.at,
        }

    def close(self) -> None:
        """Release the connections."""
        self._http.close()


def _rows(events: Sequence[Event]) -> str:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for event in events:
        writer.writerow(
            (event.id, event.type, e164(event.number), event.list, event.register, event.reason, event.at)
        )
    return rows.getvalue()


class FolderTarget:
    """CSV files in a folder, each whole or not there; then a file `.ok` with its rows and SHA-256."""

    batch = _FOLDER_BATCH

    def __init__(self, settings: FanoutTarget) -> None:
        self._settings, self._folder = settings, Path(settings.settings["path"])

    def dry_requests(self) -> Iterator[tuple[str, str, Mapping[str, str], str]]:
        """As `HttpTarget.dry_requests`: a file."""
        for type_ in _events_of(self._settings):
            yield type_, f"a file in {self._folder}", {}, _rows([_invented(type_, self._settings)])

    def deliver(self, events: Sequence[Event], deadline: Deadline) -> Delivery:  # noqa: ARG002  # a disk has no deadline
        """As `HttpTarget.deliver`."""
        content = _rows(events).encode()
        digest = sha256(content).hexdigest()
        name = f"{events[0].type}-{events[0].at[:10]}-{digest[:16]}.csv"
        try:
            self._write(name, content)
            self._write(f"{name}.ok", f"{len(events)} {digest}\n".encode())
        except OSError as error:
            return Delivery(done=False, answer=f"the folder cannot be written: {error.strerror}", away=True)
        return Delivery(done=True, answer=f"written to {name}")

    def _write(self, name: str, content: bytes) -> None:
        temporary = f".{name}.tmp"
        with suppress(FileNotFoundError):  # of a process that was killed
            (self._folder / temporary).unlink()
        with atomic_file(self._folder, temporary, 0o640) as file:
            file.out.write(content)
            file.keep(name)

    def close(self) -> None:
        """As `HttpTarget.close`."""
