"""schemas/asyncapi.yaml describes the topics that there are, and docs/reference/topics.md is made from it."""

import gzip
import json

import msgspec
from jsonschema import Draft7Validator

from stream_scrub import __version__
from stream_scrub.call import FACTS
from stream_scrub.config.settings import ProspectSettings, Topics
from stream_scrub.kafka import cloud_events
from stream_scrub.kafka.headers import FROM_HEADER, RENEWS_HEADER
from stream_scrub.recall.record import TOPICS, UPTO
from stream_scrub.requests import unread
from stream_scrub.retry.blocked import RETRY_HEADER
from stream_scrub.scrub.schemas import ID_HEADER
from stream_scrub.shadow.differences import ShadowDifference
from stream_scrub.stamp import STAMP
from tests.support.golden import topics
from tests.support.texts.pages import ROOT, rows, ticked

# Of the npm package @asyncapi/specs 6.11.1 (Apache-2.0), schemas/3.0.0-without-$id.json, packed.
OFFICIAL = ROOT / "tests" / "golden" / "asyncapi-3.0.0.json.gz"
OUTSIDERS = {"dialler", "lifter", "producer", "autoscaler"}
DOCUMENT = topics.document()


def members(schema: str) -> set[str]:
    return set(json.loads((topics.SCHEMAS / f"{schema}.schema.json").read_text())["properties"])


def test_it_is_asyncapi():
    """Every tool would refuse the document."""
    faults = Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes()))).iter_errors(DOCUMENT)
    assert [fault.message for fault in faults] == []
    assert DOCUMENT["info"]["version"] == __version__


def test_it_has_every_topic_by_its_name():
    """A catalogue would lack a topic, or subscribe to one that there is not."""
    addresses = {role: channel["address"] for role, channel in DOCUMENT["channels"].items()}
    named = Topics()
    assert addresses == named.singles | {
        each: getattr(named, each) for each in ("prospects", "allowed", "blocked")
    }


def test_who_writes_is_as_the_rights_say():
    """A generated client would write to a topic of ours."""
    written = {True: set(), False: set()}
    for who, kind, names, operations in rows((ROOT / "docs" / "reference" / "rights.md").read_text()):
        if kind == "topic" and "Write" in operations:
            written[who in OUTSIDERS] |= set(ticked(names))
    doing = {
        DOCUMENT["channels"][role]["address"]: each for role, each in topics.directions(DOCUMENT).items()
    }
    assert {topic for topic, each in doing.items() if "send" in each} == written[False]
    assert {topic for topic, each in doing.items() if "receive" in each} == written[True]


def test_every_reference_leads_somewhere_and_every_schema_of_a_record_is_in_it():
    """A generator would end with an error, or leave out what a topic holds."""
    files = set()
    for channel in DOCUMENT["channels"].values():
        for reference in channel["messages"].values():
            message = topics.found(reference)
            files |= {
                topics.schema_of(message[part])[1] for part in ("payload", "headers") if part in message
            }
    assert all("payload" in each for each in DOCUMENT["components"]["messages"].values())
    others = {"file-summary.schema.json", "scrub-delta.schema.json", "stamp.schema.json"}
    assert files - {""} == {path.name for path in topics.SCHEMAS.glob("*.schema.json")} - others


def test_its_headers_are_those_of_the_code():
    """A consumer would look for a header that never comes."""
    declared = {
        name: set(each["headers"]["properties"])
        for name, each in DOCUMENT["components"]["messages"].items()
        if "properties" in each.get("headers", {})
    }
    assert declared == {
        "prospect": {RETRY_HEADER, ID_HEADER},
        "judged": {
            *(STAMP, FROM_HEADER, RENEWS_HEADER, RETRY_HEADER),
            *(*cloud_events.NAMES, cloud_events.CONTENT_TYPE),
        },
        "recall": {UPTO, TOPICS},
        "refused": {"reason", "topic", "from", "taken", unread.UNREAD, unread.SETTLES, unread.OMITTED},
    }


def test_prospects_and_differences_have_the_members_of_the_code():
    """A producer who generates a type from the schema would lack a fact, and its calls would be blocked."""
    named = ProspectSettings()
    assert members("prospect") == {*named.numbers, named.region, *FACTS}
    assert members("shadow-difference") == {field.name for field in msgspec.structs.fields(ShadowDifference)}


def test_the_page_is_current():
    """The page and the document would differ. After a change: `python -m tests.support.golden.topics`."""
    assert topics.PAGE.read_text() == topics.made()
