"""`POST /v1/check`: the stream's own stamps, and a problem wherever none can be given."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.config import load
from stream_scrub.errors import Corrupt
from stream_scrub.scrub import scrubbing
from stream_scrub.serve import bodies
from stream_scrub.serve.check import PROSPECTS_MAX
from tests.support.fakes.log import Log
from tests.support.running.server import publish
from tests.support.texts import json_cases
from tests.unit.serve.conftest import CONSENTING, NOBODY, OPPOSED

JSON = {"Content-Type": "application/json"}
FACTS = [
    *(b"region", b"purpose", b"contract", b"campaign", b"channel"),
    *(b"who", b"relation", b"voice_kind", b"residence"),
]


def reason(answer) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["reason"]


def test_a_number_gets_its_stamp(server):
    """A dialler would call somebody who has opposed, or not call somebody who asked for it."""
    stamp = server.check({"number": "06 12 34 56 78"}).json()

    assert (stamp["verdict"], stamp["reason"], stamp["number"]) == ("blocked", "opposed", f"+{OPPOSED}")
    assert stamp["registers"] == ["internal"] and stamp["index"] == server.reader.read_offsets[-1]
    assert stamp["rules"].startswith("fr@")
    assert reason(server.check({"number": f"+{CONSENTING}"})) == "consented"
    assert reason(server.check({"number": CONSENTING})) == "consented"
    assert reason(server.check({"number": f"+{NOBODY}"})) == "no-consent"
    assert reason(server.check({"number": f"+{NOBODY}", "contract": True})) == "contract"
    assert (
        reason(server.check({"number": f"+{CONSENTING}", "purpose": "energy renovation"})) == "banned-purpose"
    )
    for none in (None, "", "12", [], ["", None]):
        assert reason(server.check({"number": none})) == "invalid-number"


NUMBERS = st.sampled_from(
    [
        *(f"+{OPPOSED}", "06 11 11 11 11", "0622222222", "06.12.34.56.78", "0033611111111", "+262692123456"),
        *(CONSENTING, "+447400123456", "x", "", None, "\u0660\u0666", ["0611111111", "0612345678"], []),
    ]
)
PROSPECTS = st.fixed_dictionaries(
    {"number": NUMBERS},
    optional={
        "region": st.sampled_from(["FR", "GB", "RE", "fr-FR", "Royaume-Uni (GB)", None, ""]),
        "purpose": st.sampled_from(["press", "Energy renovation", ["press", "x"], None, ""]),
        "contract": st.sampled_from([True, False, "C-1", {"until": "2099-01-01"}, {"until": "x"}, None, 7]),
        "campaign": st.sampled_from(["acme", ["a", "b"], 7, None]),
        "channel": st.sampled_from(["voice", "sms", None]),
        "residence": st.sampled_from(["FR", "GB", "x", None]),
        "voice_kind": st.sampled_from(["live", "artificial", None]),
        "who": st.sampled_from(["company", "consumer", None]),
        "relation": st.sampled_from([{"kind": "purchase", "since": "2026-11-01"}, {"kind": "x"}, 7, None]),
    },
)


def test_a_prospect_gets_the_stamp_that_the_stream_gives_it(server):
    """The last look before a call would differ from the verdict that the lead was sold with."""
    made = load(
        flags={
            "rules.folder": server.settings.rules.folder,
            "prospect.default_purpose": "other",
            "prospect.numbers": ["phone"],
            "prospect.stamp": "value",
        },
        environ={},
    )
    stream = scrubbing.scrubber(made)
    index = server.state._follower.index

    @given(st.lists(PROSPECTS, min_size=1, max_size=12), st.sampled_from([True, False]))
    @settings(max_examples=40)
    def same(prospects, escaped):
        said = [dict(each) for each in prospects]
        names = {"number": "phone", "region": "country"}
        values = [{names.get(name, name): value for name, value in each.items()} for each in prospects]
        out = stream.scrub(
            [json.dumps(value, ensure_ascii=escaped).encode() for value in values], index, datetime.now(UTC)
        )
        expected = [json.loads(value)["scrub"] for value in out.values]
        body = json.dumps({"prospects": said}, ensure_ascii=escaped).encode()
        answer = server.client.post("/v1/check", content=body, headers=JSON)
        assert answer.status_code == 200, answer.text
        told = answer.json()["stamps"]
        for stamp in expected:
            stamp.update({"member": "number"} if "member" in stamp else {})  # as the question calls it
        assert [each | {"at": ""} for each in told] == [each | {"at": ""} for each in expected]
        assert len({each["at"] for each in told}) == 1 and len({each["index"] for each in told}) == 1
        single = server.check(said[0]).json()
        assert single | {"at": ""} == expected[0] | {"at": ""}

    same()


def test_many_are_answered_in_their_order(server):
    """A dialler that asks about a page of leads would take one lead's verdict for another's."""
    numbers = [OPPOSED if place % 3 == 0 else CONSENTING for place in range(PROSPECTS_MAX)]

    answer = server.check({"prospects": [{"number": f"+{number}"} for number in numbers]})

    stamps = answer.json()["stamps"]
    assert [stamp["number"] for stamp in stamps] == [f"+{number}" for number in numbers]
    assert {stamp["reason"] for stamp in stamps} == {"opposed", "consented"}
    assert server.check({"prospects": []}).json() == {"stamps": []}


def test_an_opt_out_counts_at_once(serve, lists):
    """Somebody who just said no would be called by the next click."""
    server = serve(lists)
    assert reason(server.check({"number": f"+{CONSENTING}"})) == "consented"
    publish(server.log, "internal", [CONSENTING])
    server.until(lambda: reason(server.check({"number": f"+{CONSENTING}"})) == "opposed", 5)


def test_a_register_that_is_stale_blocks_as_on_the_stream(server, serve, lists):
    """A missing list would be an empty one, or one country's list would stop the calls to all others."""
    stamp = server.check({"number": "+447400123456"}).json()
    assert (stamp["verdict"], stamp["reason"], stamp["registers"]) == ("blocked", "stale-register", ["tps"])

    holding = serve(lists, rules__stale="hold")
    answer = holding.check({"number": "+447400123456"})
    assert answer.status_code == 503 and answer.json()["cause"] == "register"
    assert reason(holding.check({"number": f"+{CONSENTING}"})) == "consented"


WRONG = [
    (b'{"numbr": "0612345678"}', "body"),
    (b'{"number": "0612345678", "Region": "FR"}', "body"),
    (b'{"region": "FR"}', "body"),
    (b'["0612345678"]', "body"),
    (b'{"number": 612345678.5}', "number"),
    (b'{"number": true}', "number"),
    (b'{"number": "0612345678", "region": 33}', "region"),
    (b'{"number": "0612345678", "region": "XX"}', "region"),
    (b'{"prospects": [{"number": 1}, {"number": "0612345678", "region": "XX"}]}', "prospects[1].region"),
    (b'{"number": "0612345678", "purpose": {"0612345678": 1}}', "purpose"),
    (b'{"prospects": {"number": "0612345678"}}', "prospects"),
    (b'{"prospects": [{"number": "0611111111"}, {"0612345678": 1}]}', "prospects[1]"),
    (b'{"prospects": [{"number": "0611111111"}, {"number": [1, {}]}]}', "prospects[1].number[1]"),
    (b'{"prospects": [{"number": "0611111111"}], "number": "0612345678"}', "body"),
    (b'{"prospects": [' + b'{"number": 1},' * PROSPECTS_MAX + b'{"number": 1}]}', "prospects"),
]


@pytest.mark.parametrize(("body", "path"), WRONG, ids=range(len(WRONG)))
def test_a_body_that_says_something_else_is_refused_with_its_place(server, body, path):
    """A misspelt member would be passed over, and the call judged without what it says; or an error would show a
    number."""
    answer = server.client.post("/v1/check", content=body, headers=JSON)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    told = answer.json()
    assert told["type"] == "/docs#invalid" and told["status"] == 422
    assert [each["path"] for each in told["errors"]] == [path]
    assert "12345678" not in answer.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"numbr": "0612345678"}', "body: unknown member numbr: did you mean number?"),
        (
            b'{"prospects": [{"number": 1, "purpos": "x"}]}',
            "prospects[0]: unknown member purpos: did you mean purpose?",
        ),
        (b'{"number": 1, "zzz": 1}', "body: unknown member zzz: known are number, region, purpose"),
        (b'{"number": 1, "0612345678": 1}', "body: unknown member; known are number, region, purpose"),
        (b'{"number": 1,\n "region" "FR"}', "body: not valid JSON: expected ':' at line 2, column 11"),
        (b'{"number": "06', "body: not valid JSON: it ends too early"),
        (
            b'[{"number": "0612345678"}]',
            'body: expected `object`, got `array`: send one as {"number": ...}, several as {"prospects": [...]}',
        ),
        (
            b'{"prospects": [["0612345678"]]}',
            'prospects[0]: expected `object`, got `array`: send each as {"number": ...}',
        ),
    ],
    ids=range(8),
)
def test_an_error_says_what_and_where(server, body, said):
    """An integrator would compare a hundred lines with the documentation, for one letter or one comma."""
    told = server.client.post("/v1/check", content=body, headers=JSON).json()
    assert told["detail"].startswith(said)


# Where a piece of JSON may stand in a question that would be allowed without it.
PLACES = {
    "body": b"%b",
    "number": b'{"number":%b}',
    "contract": b'{"number":"0611111111","contract":%b}',
    "region": b'{"region":%b,"number":"0611111111"}',
    "one of many": b'{"prospects":[{"number":"0611111111","contract":%b}]}',
    "the list": b'{"prospects":%b}',
}
BROKEN = [
    *(
        b'{"number":"0611111111"' + more
        for more in (b"", b"}}", b"},", b",}", b"}x", b"}{}", b"} //", b"}\x00")
    ),
    *(more + b'{"number":"0611111111"}' for more in (b"\xef\xbb\xbf", b"\x00", b",", b"1", b"{}")),
    *(
        b'{"number":%b}' % number
        for number in (b"+33611111111", b"033611111111", b"1e400", b"0x6", b"33611111111.0")
    ),
    *(b'{"number":' * 5000, b'{"contract":%b%b,"number":"0611111111"}' % (b"[" * 100_000, b"]" * 100_000)),
    '{"number":"0611111111"}'.encode("utf-16"),
    b"{'number':'0611111111'}",
    b'{number:"0611111111"}',
]


def asked(server, body: bytes) -> tuple[int, str]:
    """The status, and the verdict if there is one."""
    answer = server.client.post("/v1/check", content=body, headers=JSON)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, ""
    (stamp,) = answer.json().get("stamps", [answer.json()])
    return 200, stamp["verdict"]


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_json_is_refused_wherever_it_stands(server, place):
    """A cut or mangled question about one number would come back as a permission to call."""
    more = BROKEN if place == "body" else []
    for body in (*more, *(PLACES[place] % piece for piece in json_cases.REFUSED)):
        assert asked(server, body) == (422, ""), body[:100]


def test_every_json_is_taken(server):
    """A dialler would be refused for a text or a number that its library writes in its own way."""
    for piece in json_cases.TAKEN:
        for place in ("contract", "one of many"):
            assert asked(server, PLACES[place] % piece) == (200, "allowed"), piece
        assert asked(server, PLACES["body"] % piece)[0] == 422, piece
        assert asked(server, PLACES["number"] % piece) in ((422, ""), (200, "blocked")), piece
    for piece in json_cases.EITHER:  # parsers may do with these as they like
        assert asked(server, PLACES["number"] % piece) in ((422, ""), (200, "blocked")), piece
        assert asked(server, PLACES["contract"] % piece)[0] in (200, 422), piece


ONE, OTHER = b'{"number":"0612345678"}', b'{"number":"0611111111"}'
TWICE = [
    *(b'{"number":"0611111111","%b":null,"%b":null}' % (name, name) for name in FACTS),
    b'{"number":"0612345678","number":"0611111111"}',
    b'{"number":"0611111111","number":"0611111111"}',
    b'{"number":"0611111111","\\u006eumber":"0611111111"}',
]


def test_members_that_stand_twice_are_for_nobody(server):
    """Two parsers would find two numbers in one question, and the one that was judged not be the one that is dialled."""
    for body in TWICE:
        for question in (body, b'{"prospects":[%b]}' % body):
            answer = server.client.post("/v1/check", content=question, headers=JSON).json()
            stamp = answer["stamps"][0] if "stamps" in answer else answer
            assert (stamp["verdict"], stamp["reason"]) == ("blocked", "unreadable"), body


LISTS_TWICE = [
    b'{"prospects":[%b],"prospects":[%b]}' % (ONE, OTHER),
    b'{"prospects":[%b], "prospects" : [ %b ] }' % (OTHER, OTHER),
    b'{"prospects":[%b],"pr\\u006fspects":[%b,%b]}' % (OTHER, OTHER, OTHER),
    b'{"prospects":[%b,%b],"prospects":[%b]}' % (OTHER, ONE, OTHER),
    b'{"prospects":[],"prospects":[%b]}' % OTHER,
    b'{"prospects":[%b],"prospects":[]}' % OTHER,
]


def test_a_list_that_stands_twice_is_refused(server):
    """The verdicts would be on other leads than those that the dialler's own parser finds in its question."""
    for body in LISTS_TWICE:
        answer = server.client.post("/v1/check", content=body, headers=JSON)
        assert answer.status_code == 422 and answer.json()["errors"][0]["path"] == "prospects"


def test_a_list_may_be_written_in_any_way(server):
    """A dialler whose library writes escapes, or blanks between members, would be refused."""
    odd = (
        b' { "pr\\u006fspects" :\t[ %b\r\n, {"number": "0611111111", "purpose": "prospects \\" ]}"},%b ]\n} '
        % (ONE, OTHER)
    )
    stamps = server.client.post("/v1/check", content=odd, headers=JSON).json()["stamps"]
    assert [each["number"] for each in stamps] == [f"+{OPPOSED}", f"+{CONSENTING}", f"+{CONSENTING}"]
    assert server.check({"prospects": []}).json() == {"stamps": []}


def test_what_is_too_large_is_not_read(server):
    """Whoever may ask could fill the server's memory with one request."""
    large = b'{"number":"' + b"0" * bodies.BODY_BYTES_MAX + b'"}'
    told = server.client.post("/v1/check", content=large, headers=JSON)
    assert told.status_code == 413 and told.json()["limit"] == bodies.BODY_BYTES_MAX

    pieces = (large[:1_000_000] for _ in range(100))  # a hundred megabytes, and nobody says so before
    told = server.client.post("/v1/check", content=pieces, headers=JSON)
    assert told.status_code == 413


def test_only_json_is_read(server):
    """A page of another site could make a browser ask or write in its user's name, by a form."""
    for said in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": said} if said else {}
        told = server.client.post("/v1/check", content=b'{"number":"0611111111"}', headers=headers)
        assert told.status_code == 415
    typed = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (
        server.client.post("/v1/check", content=b'{"number":"0611111111"}', headers=typed).status_code == 200
    )


def test_a_log_that_is_silent_gives_no_verdict(serve, lists):
    """A dialler would go on by an index of yesterday while the broker is away."""
    server = serve(lists, rules__index_lag_max_s="0.3")
    server.reader.silent = True
    server.until(lambda: server.check({"number": f"+{CONSENTING}"}).status_code == 503, 5)

    answer = server.check({"prospects": [{"number": f"+{CONSENTING}"}]})

    told = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (told["type"], told["cause"]) == ("/docs#stale-index", "log-behind")
    assert "ago" in told["detail"] and told["do"]
    assert server.client.get("/readyz").status_code == 503
    server.reader.silent = False
    server.until(lambda: server.check({"number": f"+{CONSENTING}"}).status_code == 200, 5)


def test_without_a_list_there_is_no_verdict(serve):
    """A server started before the first import would allow everybody."""
    server = serve(Log(), ready=False)
    server.until(lambda: server.check({"number": "0611111111"}).json().get("cause") == "no-seal", 5)
    assert server.client.get("/startupz").status_code == 503
    told = server.client.get("/v1/registers").json()
    assert (told["stale"]["cause"], told["registers"]) == ("no-seal", []), "the reason is told meanwhile"


def test_a_corrupt_log_gives_no_verdict(serve, lists):
    """Verdicts would rest on a log that somebody tampered with."""
    server = serve(lists)
    server.reader.trouble.append(Corrupt("a chain that does not fit", 7))
    server.until(lambda: server.check({"number": f"+{CONSENTING}"}).status_code == 503, 5)
    assert server.check({"number": f"+{CONSENTING}"}).json()["cause"] == "log-corrupt"
    assert server.client.get("/livez").status_code == 200
