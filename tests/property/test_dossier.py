"""A dossier says lawful, or covered, of no call that the log or the reported calls had forbidden by then: whatever came and
went, whether or not recall and the publisher ran, and whatever Kafka has deleted since.

The oracle knows when things happened, and the law in three sentences. It knows nothing of registers, positions and stamps.
"""

import json
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.config import Settings
from stream_scrub.index import deltas
from stream_scrub.model import RESTED, Deadline, RegisterKind
from stream_scrub.queries import dossier
from stream_scrub.queries.find_emitted import EmittedBetween, OldestLeft
from stream_scrub.queries.side_topics import ReportedAttempt, SideRecords, TopicKept
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.requests.attempts import AttemptReader
from tests.support.fakes.publisher import bitmap
from tests.support.golden import dossier as golden
from tests.support.golden.dossier import NUMBER
from tests.support.golden.evidence import keep_rules, reader

PARIS = ZoneInfo("Europe/Paris")
BEGIN = datetime(2026, 11, 25, 8, tzinfo=UTC)
LAW = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["internal"]
require = ["consent"]
attempts = { most = 2, days = 2, refusal_days = 3 }
"""
GAPS = st.sampled_from([1, 20, 40, 2_400, 25_000, 90_000])  # seconds from one event to the next
KINDS = (
    *("verdict", "verdict", "verdict", "late verdict", "call", "call", "call", "refusal", "opt-out", "lift"),
    *("consent", "consent until", "withdrawal", "expire", "rest", "recall"),
)
# Without a consent and a verdict at the beginning few histories have a lawful call.
HISTORY = st.builds(
    lambda consent, first, rest: [(1, consent), (20, first), *rest],
    st.sampled_from(["consent", "consent until"]),
    st.sampled_from(["verdict", "verdict", "call", "opt-out"]),
    st.lists(st.tuples(GAPS, st.sampled_from(KINDS)), min_size=2, max_size=14),
)
DELETED = st.sampled_from(
    [None, 0, 100, 5_000, 100_000, 10**7]
)  # before so many seconds from the beginning on


class Event(NamedTuple):
    kind: str
    at: datetime
    until: datetime | None = None


def day(moment: datetime) -> date:
    return moment.astimezone(PARIS).date()


def is_forbidden(events: list[Event], at: datetime, of_call: Event | None = None) -> bool:
    """Whether a call at that moment was against the law, by what had happened by then but for that call itself."""
    before = [each for each in events if each.at <= at]
    opposition = [each.kind for each in before if each.kind in ("opt-out", "lift")]
    if opposition[-1:] == ["opt-out"]:
        return True
    consents = [each for each in before if each.kind in ("consent", "consent until", "withdrawal")]
    if not consents or consents[-1].kind == "withdrawal":
        return True
    if consents[-1].until is not None and consents[-1].until <= at:
        return True
    calls = [each for each in before if each.kind in ("call", "refusal") and each is not of_call]
    calls = [each for each in calls if of_call is None or each.at < of_call.at]
    lately = [each for each in calls if day(at) - day(each.at) < timedelta(days=2)]
    refused = [
        each for each in calls if each.kind == "refusal" and day(at) - day(each.at) <= timedelta(days=3)
    ]
    return len(lately) >= 2 or bool(refused)


def was_lawful(events: list[Event], since: datetime, at: datetime, of_call: Event | None = None) -> bool:
    """Whether nothing forbade a call from one moment to another."""
    moments = [since, at, *(each.at for each in events), *(each.until for each in events if each.until)]
    moments += [each.at + timedelta(milliseconds=500) for each in events]
    return not any(is_forbidden(events, each, of_call) for each in moments if since <= each <= at)


class World:
    """A history, as the topics have it."""

    def __init__(self, folder: str, history: list[tuple[int, str]]) -> None:
        self.settings = Settings.model_validate(
            {"rules": {"folder": folder}, "prospect": {"default_purpose": "other"}}
        )
        self.log = golden.TimedLog()
        keep_rules(self.log.publisher, LAW)
        for name, kind in (("internal", RegisterKind.DENY), ("consent", RegisterKind.ALLOW)):
            self.log.publisher.import_list(name, {}, kind)
        self.positions = [self.log.then(BEGIN - timedelta(hours=1))]
        self.changed = BEGIN - timedelta(hours=1)
        self.events, self.found = list[Event](), []
        self.notices, self.attempts = list[RecallNotice](), list[ReportedAttempt]()
        at = BEGIN
        for gap, kind in history:
            at += timedelta(seconds=gap)
            self.happens(kind, at)
        self.now = at + timedelta(hours=1)

    def happens(self, kind: str, at: datetime) -> None:
        publisher = self.log.publisher
        event = Event(kind, at, at + timedelta(hours=9) if kind == "consent until" else None)
        if kind in ("verdict", "late verdict"):
            late = kind == "late verdict" and at - self.changed < timedelta(seconds=30)
            position = self.positions[-2:][0] if late else self.positions[-1]
            value = b'{"phone":"06 12 34 56 78","campaign":"acme"}'
            self.found.append(golden.judged(self.log.records, position, at, value, self.settings))
            event = event._replace(kind=self.found[-1].stamp.verdict)
        elif kind in ("call", "refusal"):
            self.attempts.append(attempt(len(self.attempts), at, kind))
        elif kind == "recall":
            if is_forbidden(self.events, at):
                self.notices.append(
                    RecallNotice(
                        kind="recalled", number=f"+{NUMBER}", reason="opposed", index=self.positions[-1], at=at.isoformat()
                    )
                )  # fmt: skip
        else:
            internal = publisher.base("internal").numbers
            if kind == "opt-out":
                publisher.put("internal", deltas.adding(internal, bitmap([NUMBER])))
            elif kind == "lift":
                publisher.put("internal", deltas.removing(internal, bitmap([NUMBER])))
            elif kind in ("consent", "consent until"):
                end = 0 if event.until is None else int(event.until.timestamp())
                consents = publisher.base("consent", RegisterKind.ALLOW).numbers
                publisher.put("consent", deltas.removing(consents, bitmap([NUMBER])), RegisterKind.ALLOW)
                publisher.import_list("consent", {NUMBER: end}, RegisterKind.ALLOW, adding=True)
            elif kind == "withdrawal":
                consents = publisher.base("consent", RegisterKind.ALLOW).numbers
                publisher.put("consent", deltas.removing(consents, bitmap([NUMBER])), RegisterKind.ALLOW)
            elif kind == "expire":
                publisher.end("consent", int(at.timestamp()))
            elif len([each for each in self.events if each.kind in ("call", "refusal")]) >= 2:
                publisher.import_list(
                    RESTED, {NUMBER: int((at + timedelta(days=2)).timestamp())}, adding=True
                )
            if len(self.log.log.records) > len(self.log.records):
                self.positions.append(self.log.then(at))
                self.changed = at
        self.events.append(event)

    def dossier(self, cuts: dict[str, int | None]) -> dossier.Dossier:
        """The dossier by what is left on each topic; None: everything."""
        deleted = []

        def left(topic, records, moment):
            cut = cuts.get(topic)
            if cut is None or not [each for each in records if moment(each) < BEGIN + timedelta(seconds=cut)]:
                return list(records)
            rest = [each for each in records if moment(each) >= BEGIN + timedelta(seconds=cut)]
            deleted.append((topic, moment(rest[0]) if rest else self.now))
            return rest

        found = [
            *left("prospects.allowed", [each for each in self.found if each.stamp.allowed], lambda each: each.stamp.at),
            *left("prospects.blocked", [each for each in self.found if not each.stamp.allowed], lambda each: each.stamp.at),
        ]  # fmt: skip
        notices = left("prospects.recalled", self.notices, lambda each: datetime.fromisoformat(each.at))
        attempts = left("call.attempts", self.attempts, lambda each: each.at)
        outputs = [
            OldestLeft(topic, 0, at) for topic, at in deleted if "allowed" in topic or "blocked" in topic
        ]
        kept = {
            topic: TopicKept(topic=topic, holds="", keep_days=1, oldest=at)
            for topic, at in deleted
            if topic in ("prospects.recalled", "call.attempts")
        }
        found.sort(key=lambda each: each.stamp.at)
        return dossier.of(
            reader(self.log.records),
            dossier.DossierRequest(NUMBER, "FR", day(BEGIN), day(self.now)),
            EmittedBetween(found, outputs),
            SideRecords(attempts, notices, [], kept),
            self.settings,
            lambda *_: None,
            Deadline.after(60),
            self.now,
        )


def attempt(nth: int, at: datetime, kind: str) -> ReportedAttempt:
    request = "attempt" if kind == "call" else kind
    said = {"request": request, "id": nth, "number": f"+{NUMBER}", "at": at.isoformat(), "campaign": "acme"}
    value = json.dumps(said).encode()
    read = AttemptReader("FR", {}).read(value, int(at.timestamp() * 1000) + 5000)
    assert not isinstance(read, str)
    return ReportedAttempt(0, nth, at, read, ["acme"], msgspec.Raw(value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("rules")
    (made / "fr.toml").write_text(LAW)
    return str(made)


@given(
    HISTORY,
    st.fixed_dictionaries(
        dict.fromkeys(
            ("prospects.allowed", "prospects.blocked", "prospects.recalled", "call.attempts"), DELETED
        )
    ),
)
def test_no_call_is_lawful_after_the_log_forbade_it(folder, history, cuts):
    """An authority would be told, on evidence that we signed for, that an unlawful call was lawful."""
    world = World(folder, history)
    need_right(world, cuts)


def need_right(world: World, cuts: dict[str, int | None]) -> None:
    made = world.dossier(cuts)
    calls = {each.at: each for each in world.events if each.kind in ("call", "refusal")}
    released = [each.at for each in world.events if each.kind == "allowed"]
    for each in made.attempts:
        call = calls[datetime.fromisoformat(each.at)]
        lawful = any(was_lawful(world.events, since, call.at, call) for since in released if since <= call.at)
        assert lawful or not each.covered, f"the call of {each.at} is said to be covered: {each.says}"
    for each in made.days:
        if each.lawful != "yes":
            continue
        begins = datetime.combine(each.day, datetime.min.time(), PARIS).astimezone(UTC)
        last = min(begins + timedelta(days=1, seconds=-1), world.now)
        if each.released:
            since = [at for at in released if at <= last]
            assert any(was_lawful(world.events, at, last) for at in since), f"{each.day}: {each.says}"
        else:
            assert was_lawful(world.events, begins, last), f"{each.day}: {each.says}"
            assert not any(day(at) == each.day for at in released), f"{each.day}: a lead was released"
