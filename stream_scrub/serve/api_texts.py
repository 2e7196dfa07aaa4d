"""What `/openapi.json` and `/docs` say in words: endpoints, members, errors, and examples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_scrub.serve.bodies import Kind

ABOUT = (
    "May these numbers be called now? Ask just before a call. Dial only if the answer is 200 and its `verdict` is `allowed`;"
    ' anything else means "do not dial": another status, no answer, or an answer that is not JSON.'
)
TOKENS = (
    "With tokens (`http.tokens`) every request needs the header `Authorization: Bearer scrub_...`, and the token needs the"
    " scope of the endpoint: `stream-scrub tokens add dialler-7 --scope check` creates one. Without tokens the server answers"
    " this machine only, and needs no header."
)


class Endpoint(NamedTuple):
    """One endpoint. `ask` is the body of its example, if it takes one."""

    scope: str
    summary: str
    description: str
    ask: Any
    answer: Any


_STAMP = {
    "verdict": "blocked",
    "reason": "opposed",
    "number": "+33612345678",
    "registers": ["internal"],
    "index": 1234,
    "rules": "fr@9c01f2",
    "at": "2026-11-24T12:00:00.123Z",
}
_REGISTER = {
    "register": "internal",
    "kind": "deny",
    "count": 61,
    "effective_at": "2026-11-24T06:00:00Z",
    "age_days": 0.25,
    "seq": 12,
    "position": 1234,
    "source": "opposition.requests",
    "chain": "5f2c" * 16,
    "note": "",
}
_RULE = {
    "rules": "fr@9c01f2",
    "from": "2026-08-11",
    "to": None,
    "source": "Code de la consommation L.223-1",
    "says": ["A number in internal is always blocked."],
    "registers": [{"register": "internal", "role": "deny", "max_age_days": None}],
    "valid_days": 1,
    "uncertain": [],
    "text": "from = 2026-08-11\n",
}
_CHANGE = {
    "position": 1234,
    "time": "2026-11-12T09:00:00.000Z",
    "register": "internal",
    "kind": "deny",
    "change": "added",
    "reason": "requests",
    "source": {"name": "opposition.requests", "sha256": "5f2c" * 16},
    "effective_at": "2026-11-12T09:00:00Z",
    "end": None,
    "seq": 12,
    "chain": "5f2c" * 16,
    "requests": [],
}
_SINCE = {
    name: _CHANGE[name]
    for name in ("position", "time", "change", "reason", "source", "effective_at", "requests")
}
_MADE_BY = {"user": "scrub", "host": "server-1", "token": "officer"}
_REPORT = {
    "month": "2026-10",
    "prospects_allowed": 120,
    "prospects_blocked": 30,
    "verdicts": [
        {
            "country": "FR",
            "verdict": "allowed",
            "reason": "consented",
            "registers": [],
            "rules": "fr@9c01f2",
            "verdicts": 120,
        }
    ],
    "lists": [],
    "recalls": [{"kind": "recalled", "reason": "opposed", "register": "internal", "count": 2}],
    "position": 1234,
    "notes": ["Calls, abandoned calls and attempts are not counted here."],
    "made_by": _MADE_BY,
    "at": "2026-11-24T12:00:00Z",
}
_PROOF = {
    "sound": True,
    "first": 0,
    "end": 1235,
    "records": 1235,
    "seals": 300,
    "registers": [
        {
            "register": "internal",
            "kind": "deny",
            "seq": 12,
            "count": 61,
            "deltas": 12,
            "restated": 0,
            "chain": "5f2c" * 16,
            "problems": 0,
            "unproven": [],
        }
    ],
    "problems": [],
    "problems_left_out": 0,
    "anchors": [],
    "took_s": 0.4,
    "made_by": _MADE_BY,
    "at": "2026-11-24T12:00:00Z",
}
_NUMBER = "06 12 34 56 78"

ENDPOINTS: Mapping[str, Endpoint] = {
    "check": Endpoint(
        "check",
        "Check prospects",
        "Returns the verdict that the stream would give at this moment, with the same lists, rules and code. Send one prospect,"
        ' or up to 10 000 as `{"prospects": [{"number": "+33612345678"}, ...]}`; the answer to a list is `{"stamps": [...]}` in the'
        " same order. Numbers are in"
        " the body only, never in a path.",
        {"number": _NUMBER, "region": "FR", "purpose": "insurance"},
        _STAMP,
    ),
    "request": Endpoint(
        "request",
        "Record a request",
        'Records that a person does not want to be called (`"request": "opt-out"`), consents (`consent`), or takes a consent back'
        " (`withdrawal`). With an `id` also that a call was tried (`attempt`), or refused (`refusal`). 202: the brokers have it, and it counts for every worker and server within a second. Repeating"
        " it does no harm.",
        {"request": "opt-out", "number": _NUMBER, "source": "dialler-7"},
        {"topic": "opposition.requests", "partition": 3, "offset": 42, "invalid": 0, "note": None},
    ),
    "history": Endpoint(
        "history",
        "A number's history",
        "Returns when a number entered and left each register, and by which list or request. It reads the whole log, one"
        " question at a time.",
        {"number": _NUMBER, "region": "FR"},
        {
            "number": "+33612345678",
            "position": 1234,
            "events": [_CHANGE],
            "registers": [
                {"register": "internal", "kind": "deny", "held": True, "since": _SINCE, "end": None}
            ],
        },
    ),
    "report": Endpoint(
        "evidence",
        "A month of verdicts",
        "Counts the verdicts of a month by country, reason, registers and rule, with the ages of the lists, and the recalls, as"
        " `stream-scrub report` does. It reads the log and the month of each output, one question at a time. It names no number.",
        None,
        _REPORT,
    ),
    "verify": Endpoint(
        "evidence",
        "Verify the log",
        "Says whether the log is what publishers wrote, as `stream-scrub lists verify --json` does. Send `{}`, or as `against` an"
        " earlier answer, which must still hold. It reads the whole log, one question at a time. `sound` is the result.",
        {"against": {"registers": [{"register": "internal", "seq": 0, "chain": "5f2c" * 16}]}},
        _PROOF,
    ),
    "registers": Endpoint(
        "check",
        "Every register",
        "Returns every register with its size, and the day and age of its list. `unusable` has those that are missing or too old, and"
        " `stale` says why no verdict is safe now; null if verdicts are safe.",
        None,
        {"position": 1234, "stale": None, "registers": [_REGISTER], "unusable": []},
    ),
    "register": Endpoint(
        "check", "One register", "Returns one of the registers.", None, {**_REGISTER, "stale": None}
    ),
    "rule": Endpoint(
        "check",
        "The rule of a country or region on a day",
        "Returns the rule in words, with its source, its doubts, and the next change. `on` is a day; without it, today.",
        None,
        {
            "country": "FR",
            "channels": ["voice"],
            "on": "2026-11-24",
            "regions": ["FR", "RE"],
            "timezone": "Europe/Paris",
            "prefixes": [],
            "rule": _RULE,
            "next": None,
        },
    ),
}
PARAMETERS = {
    "Idempotency-Key": "Any text of your own, the same for every try of one request: it is then written once.",
    "on": "A day, as 2026-08-10.",
    "month": "A month that has begun, as 2026-10.",
    "name": "The register, as internal or internal@acme.",
    "country": "A country or region (ISO 3166-1), as FR.",
}
# What a caller does about each kind of problem.
DO: Mapping[Kind, str] = {
    Kind.MALFORMED_REQUEST: "This is not HTTP. Fix the client.",
    Kind.UNAUTHORIZED: "No token, or an unknown or revoked one. Get a token; do not dial.",
    Kind.FORBIDDEN: "The token lacks the scope `scope`; or, without tokens, the Host is not this machine's name.",
    Kind.NOT_FOUND: "There is no such path, register or country. Check the path.",
    Kind.METHOD_NOT_ALLOWED: "`Allow` has the methods of this path. Use one of them.",
    Kind.TOO_SLOW: "The body did not arrive within ten seconds. Send it whole.",
    Kind.TOO_LARGE: "The body has more than `limit` bytes. Ask about fewer.",
    Kind.NOT_JSON: "Send the header Content-Type: application/json.",
    Kind.INVALID: "The body cannot be read: `errors` has each `path` and `detail`. Fix the client; do not dial.",
    Kind.TOO_MANY_REQUESTS: "The token's rate is used up. Ask again after `Retry-After` seconds; do not dial.",
    Kind.HEADERS_TOO_LARGE: "The headers have more than `limit` bytes. Send fewer.",
    Kind.FAULT: "A bug in the server, which is in its log. Do not dial; report it.",
    Kind.NOT_WRITTEN: "It is unknown whether the brokers have the request. Send it again.",
    Kind.STALE_INDEX: "No verdict would be safe: `cause` and `do` say why. Do not dial; ask again after `Retry-After` seconds.",
}
PROBLEM = {
    "type": "/docs#invalid",
    "title": "Invalid request",
    "status": 422,
    "detail": "body: unknown member numbr: did you mean number?",
    "errors": [{"path": "body", "detail": "unknown member numbr: did you mean number?"}],
}
# By type and member.
MEMBERS: Mapping[str, Mapping[str, str]] = {
    "CheckProspect": {
        "number": "The number in any usual spelling, or a list of a person's numbers.",
        "region": "The region (ISO 3166-1) of a national number; without it, the server's own.",
        "purpose": "What the call is for. Known words: {purposes}. Other words count as unknown.",
        "contract": "Whether the person has a contract with you that the call is about: true, or its identifier.",
        "campaign": "The campaign that calls, or a list: it adds the campaign's registers, such as internal@acme.",
        "channel": "The channel: voice (default), or another such as sms.",
        "who": "Who is called: consumer (default), or company.",
        "relation": 'A relation with the caller, as in {{"kind": "purchase", "since": "2026-01-31"}}, or of the kind inquiry.',
        "voice_kind": "Who speaks: live (default), or artificial.",
        "residence": "The region where the person lives, if not the number's.",
    },
    "Prospects": {"prospects": "Up to 10 000 prospects."},
    "StampList": {"stamps": "One stamp for each prospect, in the same order."},
    "Stamp": {
        "verdict": "Dial only if it is allowed.",
        "reason": "Why: one of a closed set.",
        "channel": "The channel of the verdict, such as sms; absent for voice.",
        "why": "Why the prospect is `unreadable`, or its only number an `invalid-number`.",
        "member": "The member that `why` is about.",
        "schema": "The id of the schema that `why` is about, on the stream.",
        "cause": "What was wrong with the record, on the stream.",
        "from": "The topic of such a record.",
        "timestamp": "The time of such a record, in milliseconds.",
        "number": "The number that was judged, in E.164. Dial this one.",
        "registers": "The registers that block the number, or are stale.",
        "numbers": "One entry for each number of a prospect with several.",
        "callable": "Those of several numbers that may be called.",
        "index": "The position of the opposition log behind the verdict.",
        "rules": "The country, and the digest of the rule that decided.",
        "residence": "The same for the country of residence, if it is another.",
        "at": "When the verdict was given, in UTC.",
        "until": "The last day on which the verdict may be used. If you do not dial at once, ask again.",
        "rests_until": "For a number that was called too often: when it may be called again, in UTC, if known.",
        "call": "When the person may be called. Absent if no rule sets hours.",
        "callable_now": "Whether a call may begin at `at`. Absent with `call`.",
        "next": "When a call may begin, if not now. Ask again before that call.",
    },
    "CallHours": {
        "zones": "The time zones in which the person may be. A window is open in all of them.",
        "windows": "From and to, in UTC: the first minute, and the first that is too late. Empty: no call.",
        "local": "The weekly hours on the person's own clock, as text.",
        "not_on": "Days within the windows on which no call is allowed, such as holidays.",
    },
    "RequestBody": {
        "request": "opt-out, consent or withdrawal; attempt or refusal with an `id`.",
        "number": "The number in any usual spelling, or a list of numbers.",
    },
    "AcceptedRequest": {
        "topic": "The topic of the request.",
        "partition": "Its partition.",
        "offset": "Its place there.",
        "invalid": "How many of its entries are not numbers.",
        "note": "What could not be read in an opposition; it then counts for every caller.",
    },
    "HistoryQuestion": {
        "number": "The number in any usual spelling.",
        "region": "The region of a national number; without it, the server's own.",
    },
    "VerifyQuestion": {"against": "An earlier answer, of which `registers` counts."},
    "ProblemDetails": {
        "type": "The kind of problem: its end is in the table of errors.",
        "title": "The kind in words.",
        "status": "The HTTP status.",
        "detail": "What is wrong, where, and what to do. It repeats nothing of the request except a misspelt member's name.",
    },
}
MEMBERS = {**MEMBERS, "NumberStamp": MEMBERS["Stamp"]}
