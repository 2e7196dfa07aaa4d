"""A number's story of a week, its dossier, and the page: for the tests of dossiers.

`python -m tests.support.golden.dossier` writes tests/golden/dossier again: only for a change of the page that is meant.
"""

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from pyroaring import BitMap64

from stream_scrub.config.settings import Settings
from stream_scrub.fanout.receipt import FanoutReceipt
from stream_scrub.index import deltas
from stream_scrub.log import wire
from stream_scrub.log.replay import Replay
from stream_scrub.model import Deadline, LogRecord
from stream_scrub.queries import dossier
from stream_scrub.queries.dossier_files import dossier_page
from stream_scrub.queries.explain import EmittedProspect
from stream_scrub.queries.find_emitted import EmittedBetween, FoundProspect, OldestLeft
from stream_scrub.queries.side_topics import ReportedAttempt, SideRecords, TopicKept
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.requests.attempts import AttemptReader, CallAttempt
from stream_scrub.rules import digest_of
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.stamp import stamp_on
from tests.support.fakes import law
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import Publisher, bitmap
from tests.support.golden.evidence import keep_rules, reader
from tests.support.golden.files import GOLDEN

FOLDER = GOLDEN / "dossier"
NUMBER, STRANGER = 33612345678, 33699998888
FIRST, LAST, NOW = date(2026, 11, 25), date(2026, 12, 1), datetime(2026, 12, 2, 12, tzinfo=UTC)
# A request that names somebody else too, and words that a page must not take for its own.
OPT_OUT = (
    b'{"request":"opt-out","number":["06 12 34 56 78","06 99 99 88 88"],"source":"dialler-7",'
    b'"proof":{"text":"</script><b>never again</b>"}}'
)
CHANGING = (
    (re.compile(r'"(stream-scrub|phonenumbers|tzdata)":"[^"]+"'), r'"\1":"1"'),
    (re.compile(r"read with stream-scrub \S+ and phonenumbers [^\s,]+"), "read with stream-scrub 1 and phonenumbers 1"),
    (re.compile(r"by stream-scrub [0-9]\S*\. The same"), "by stream-scrub 1. The same"),
)  # fmt: skip


class Story(NamedTuple):
    """What is on the log, and what a search of the topics finds."""

    records: list[LogRecord]
    emitted: EmittedBetween
    sides: SideRecords
    settings: Settings


def at(text: str) -> datetime:
    """A moment in France."""
    return datetime.fromisoformat(f"{text}+01:00").astimezone(UTC)


class TimedLog:
    """A log whose records have the moment of their publication."""

    def __init__(self) -> None:
        self.log = Log()
        self.publisher = Publisher(self.log)
        self.records: list[LogRecord] = []

    def then(self, moment: datetime) -> int:
        """Give what was published meanwhile this moment; returns the position."""
        new = self.log.records[len(self.records) :]
        self.records += [each._replace(timestamp_ms=int(moment.timestamp() * 1000)) for each in new]
        return self.records[-1].offset


def story(folder: str) -> Story:
    """A week: allowed, opted out and recalled, blocked, corrected, allowed again. `folder`: for the rule's file."""
    made = TimedLog()
    publisher = made.publisher
    keep_rules(publisher, law.OPT_OUT)
    publisher.import_list("list", {STRANGER: 0})
    publisher.import_list("internal", {})
    listed = made.then(at("2026-11-25T08:00"))
    opposing = deltas.adding(publisher.base("internal").numbers, bitmap([NUMBER, STRANGER]))
    line = wire.request_line(3, 17, int(at("2026-11-27T09:59").timestamp() * 1000), OPT_OUT)
    publisher.request("internal", opposing, [line])
    opposed = made.then(at("2026-11-27T10:00"))
    publisher.put("internal", deltas.removing(publisher.base("internal").numbers, BitMap64([NUMBER])))
    corrected = made.then(at("2026-11-30T08:00"))
    settings = Settings.model_validate(
        {"rules": {"folder": folder}, "prospect": {"default_purpose": "other"}}
    )
    found = [
        judged(made.records, *each, settings)
        for each in (
            (listed, at("2026-11-25T09:30"), b'{"phone":"06 12 34 56 78","campaign":"acme","name":"A. Stranger"}'),
            (listed, at("2026-11-25T09:31"), b'{"phone":"06 12 34 56 78","campaign":"acme"}'),
            (opposed, at("2026-11-28T11:00"), b'{"phone":"06 12 34 56 78","campaign":"acme"}'),
            (corrected, at("2026-11-30T12:00"), b'{"phone":["06 99 99 88 88","0612345678"],"campaign":"zeta"}'),
            (corrected, at("2026-12-01T12:00"), b'{"phone":"0612345678","campaign":"zeta"}'),
        )
    ]  # fmt: skip
    notice = RecallNotice(
        kind="recalled",
        number=f"+{NUMBER}",
        reason="opposed",
        register="internal",
        index=opposed,
        at="2026-11-27T09:00:01Z",
    )
    sides = SideRecords(
        attempts=[attempt(17, "2026-11-25T10:00"), attempt(18, "2026-11-27T15:00", refused=True)],
        notices=[notice],
        deliveries=[
            FanoutReceipt(
                target="vicidial",
                event="recalled",
                id="prospects.recalled/2/41",
                number=f"+{NUMBER}",
                since="2026-11-27T09:00:01Z",
                at="2026-11-27T09:00:02Z",
                outcome="confirmed",
            )
        ],
        kept={
            "prospects.allowed": TopicKept(
                topic="prospects.allowed", holds="allowed prospects with their verdicts", keep_days=90
            ),
            "opposition.log": TopicKept(
                topic="opposition.log",
                holds="every change of every register, and the requests behind them",
                keep_days=None,
            ),
        },
    )
    deleted = [OldestLeft("prospects.blocked", 2, at("2026-11-26T00:00"))]
    return Story(made.records, EmittedBetween(found, deleted), sides, settings)


def judged(
    records: list[LogRecord], position: int, moment: datetime, value: bytes, settings: Settings
) -> FoundProspect:
    """The prospect as a worker emitted it at that position and moment."""
    replay = Replay(keep_ends=True, digest_of=digest_of)
    for record in records:
        if record.offset <= position:
            replay.take(record)
    scrubber = Scrubber(scrubbing.terms(settings, hold=False), scrubbing.rulebook(settings))
    batch = scrubber.scrub([value], replay.index, moment)
    verdict = "allowed" if batch.allowed[0] else "blocked"
    emitted = EmittedProspect(batch.values[0], None, verdict)
    stamp = stamp_on(None, emitted.value)
    assert stamp is not None
    return FoundProspect(f"prospects.{verdict}", 0, position, at_day(moment), stamp, emitted)


def at_day(moment: datetime) -> date:
    return moment.astimezone(datetime.fromisoformat("2026-11-25T00:00+01:00").tzinfo).date()


def attempt(offset: int, moment: str, *, refused: bool = False) -> ReportedAttempt:
    """A call of acme's, or a refusal, at a moment in France."""
    said = {
        "request": "refusal" if refused else "attempt",
        "id": offset,
        "number": f"+{NUMBER}",
        "at": at(moment).isoformat(),
        "campaign": "acme",
    }
    value = json.dumps(said).encode()
    said_of = AttemptReader("FR", {}).read(value, int(NOW.timestamp() * 1000))
    assert isinstance(said_of, CallAttempt)
    return ReportedAttempt(0, offset, at(moment), said_of, ["acme"], msgspec.Raw(value))


def made(
    told: Story, campaign: str = "", first: date = FIRST, last: date = LAST, **more: str
) -> dossier.Dossier:
    """The dossier of the story."""
    return of(told, dossier.DossierRequest(NUMBER, "FR", first, last, campaign, **more))


def of(told: Story, asked: dossier.DossierRequest) -> dossier.Dossier:
    """Another dossier of the story."""

    def quiet(_what: str, _done: int, _of: int) -> None:
        pass

    return dossier.of(
        reader(told.records), asked, told.emitted, told.sides, told.settings, quiet, Deadline.after(15), NOW
    )


def page(told: dossier.Dossier) -> str:
    """The page without what a release decides."""
    text = dossier_page.rendered(told)
    for pattern, fixed in CHANGING:
        text = pattern.sub(fixed, text)
    return text


def with_rules(folder: str) -> str:
    """Put the tests' French law into the folder."""
    (Path(folder) / "fr.toml").write_text(law.OPT_OUT)
    return folder


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as rules:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "page.html").write_text(page(made(story(with_rules(rules)))))
