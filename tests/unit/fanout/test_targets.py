"""Each connector against a fake of the system's documented API: what counts as done, and what never does."""

import base64
import csv
import gzip
import hashlib
import hmac
import json
import time
import tracemalloc
from pathlib import Path

import pytest

from stream_scrub.config.settings import FanoutTarget
from stream_scrub.fanout import connector
from stream_scrub.fanout.events import Event
from stream_scrub.fanout.target import FolderTarget, HttpTarget, dry_delivery, problems_of, target_of
from stream_scrub.model import Deadline
from tests.support.fakes.dialler_apis import Convoso, GenesysCloud, Vicidial
from tests.support.fakes.web import Web
from tests.support.network.dripping import dripping

AMERICAN, FRENCH = 14155552671, 33612345678


def event(number=AMERICAN, type_="opted-out", list_="", at=0):
    return Event(type_, number, list_, "internal", "requests", 1_764_000_000_000, ("log", 0), (7, at), 5)


def secrets(folder: Path, **texts: str) -> dict[str, str]:
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n")
    return {name: str(folder / name) for name in texts}


def folder(path):
    return FanoutTarget(connector="folder", recalls=True, settings={"path": str(path)})


def tell(target, *events, seconds=20):
    return target.deliver(events, Deadline.after(seconds))


@pytest.fixture
def web():
    """A server whose answers the test chooses."""
    with Web(lambda _: (500, b"")) as made:
        yield made


@pytest.fixture
def vicidial(web, tmp_path):
    """The fake, and a target of it."""
    fake = web.answer = Vicidial({"ACME"})
    settings = FanoutTarget(
        connector="vicidial",
        lists={"internal": "", "internal@acme": "ACME"},
        recalls=True,
        lifts=True,
        settings={"url": f"{web.url}/vicidial/non_agent_api.php"},
        secrets=secrets(tmp_path, user="api", password="let me in"),
    )
    assert problems_of("dialler", settings) == []
    return fake, target_of(settings)


def test_vicidial_has_the_number_read_back_and_every_lead_out_of_the_hopper(vicidial):
    """SUCCESS is printed even if the number was not stored, and the hopper is dialled whatever the list says."""
    fake, target = vicidial
    fake.leads["4155552671"] = {"11": "READY", "12": "QUEUE", "13": ""}
    found = tell(target, event())
    assert (found.done, found.confirmed) == (True, True)
    assert fake.dnc == {("4155552671", "SYSTEM_INTERNAL")}
    assert fake.leads["4155552671"] == {"11": "", "12": "", "13": ""}
    again = tell(target, event())
    assert (again.done, again.confirmed) == (True, True), "ALREADY EXISTS means done"
    assert not fake.statuses, "an opt-out changes no lead"


def test_vicidial_is_not_done_while_a_lead_is_in_a_call_or_the_number_was_not_stored(vicidial):
    """A receipt would prove what did not happen."""
    fake, target = vicidial
    fake.leads["4155552671"] = {"11": "INCALL"}
    found = tell(target, event())
    assert not found.done and not found.away
    fake.leads["4155552671"] = {"11": "READY"}
    assert tell(target, event()).done
    fake.loses_inserts = True
    found = tell(target, event(FRENCH))
    assert not found.done and "0612345678" not in found.answer


def test_vicidial_is_told_nothing_about_a_campaign_that_it_does_not_have(vicidial, web):
    """It answers SUCCESS for a misspelt campaign, and everybody would be called all the same."""
    fake, target = vicidial
    assert tell(target, event(list_="ACME")).confirmed
    found = tell(target, event(list_="ACNE"))
    assert not found.done and found.away and "ACNE is unknown" in found.answer
    assert fake.dnc == {("4155552671", "ACME")}
    assert b"ACNE" not in b"".join(each.body for each in web.asked if b"add_dnc" in each.body)


def test_vicidial_recalls_by_a_status_that_is_not_dialled_and_lifts_by_a_deletion(vicidial):
    """A lead that only left the hopper would come back, and a lifted opt-out would stay for good."""
    fake, target = vicidial
    fake.leads["4155552671"] = {"11": "READY", "12": ""}
    assert tell(target, event(type_="recalled")).done
    assert fake.statuses == {"11": "RECALL", "12": "RECALL"} and not fake.dnc
    tell(target, event())
    assert tell(target, event(type_="lifted")).done and not fake.dnc
    assert tell(target, event(type_="lifted")).done, "DOES NOT EXIST means done"


def test_a_wrong_password_is_no_success_although_the_status_says_so(vicidial, tmp_path):
    """Every opt-out would be lost with a receipt. The file is read again, so a new one needs no restart."""
    _, target = vicidial
    (tmp_path / "password").write_text("wrong")
    assert not tell(target, event()).done
    (tmp_path / "password").write_text("let me in")
    assert tell(target, event()).done
    (tmp_path / "password").unlink()
    found = tell(target, event())
    assert not found.done and found.away


def test_genesys_cloud_takes_a_thousand_at_once_and_a_token_that_ended_is_renewed(web, tmp_path):
    """300 requests a minute would take an hour for a list of 20 000."""
    settings = FanoutTarget(
        connector="genesys-cloud",
        lists={"internal": "list-1"},
        lifts=True,
        secrets=secrets(tmp_path, client_id="id", client_secret="secret"),
    )
    assert problems_of("cloud", settings) == []
    fake = web.answer = GenesysCloud(uses=2)
    target = HttpTarget(settings, connector.load("genesys-cloud"), to(web))
    many = [event(FRENCH + at, list_="list-1") for at in range(1000)]
    assert target.batch == 1000 and tell(target, *many).done
    assert fake.sizes == [1000] and f"+{FRENCH}" in fake.numbers
    assert tell(target, event(FRENCH, "lifted", "list-1")).done and f"+{FRENCH}" not in fake.numbers
    ended = tell(target, event(list_="list-1"))
    assert not ended.done and ended.away
    assert tell(target, event(list_="list-1")).done and len(fake.tokens) == 2


def to(web):
    """Sends every request to the fake, whatever its host."""
    import httpx  # noqa: PLC0415 - the room's own library

    class Here(httpx.HTTPTransport):
        def handle_request(self, request):
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=web.port)
            return super().handle_request(request)

    return Here()


def test_convoso_s_error_of_a_duplicate_is_done_and_that_of_a_campaign_is_not(web, tmp_path):
    """A duplicate would be tried for a month, or a misspelt campaign would have a receipt."""
    fake = web.answer = Convoso()
    settings = FanoutTarget(
        connector="convoso",
        lists={"internal": ""},
        settings={"url": web.url},
        secrets=secrets(tmp_path, auth_token="t0ken"),
    )
    assert problems_of("dialler", settings) == []
    target = target_of(settings)
    assert tell(target, event()).done and tell(target, event()).done
    assert fake.dnc == {("1", "4155552671", "0")}
    assert not tell(target, event(list_="404")).done


@pytest.fixture
def hook(web, tmp_path):
    """A webhook's target."""
    settings = FanoutTarget(
        connector="webhook",
        lists={"internal": "all"},
        settings={"url": f"{web.url}/hook?x=1"},
        secrets=secrets(tmp_path, signing_key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    )
    return target_of(settings)


def test_a_webhook_is_signed_as_the_standard_says():
    """Receivers that check the signature with any library of the standard would refuse every event."""
    made = connector.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # the vector of the standard's own tests


def test_a_webhook_has_one_id_for_all_tries_and_both_keys_while_they_are_rotated(web, hook, tmp_path):
    """A receiver would take a repeated event for a new one, or refuse all of them for a day."""
    web.answer = lambda _: (204, b"")
    keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + base64.b64encode(b"x" * 32).decode()]
    (tmp_path / "signing_key").write_text(" ".join(keys))
    assert tell(hook, event(FRENCH)).done and tell(hook, event(FRENCH)).done
    one, other = web.asked
    assert one.headers["webhook-id"] == other.headers["webhook-id"] and one.body == other.body
    assert "." not in one.headers["webhook-id"] and one.path == "/hook?x=1"
    signed = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    digests = [hmac.digest(base64.b64decode(key[6:]), signed, hashlib.sha256) for key in keys]
    assert one.headers["webhook-signature"] == " ".join(
        "v1," + base64.b64encode(each).decode() for each in digests
    )
    body = json.loads(one.body)
    assert (body["type"], body["data"]["number"]) == ("number.opted-out", f"+{FRENCH}")


@pytest.mark.parametrize(
    ("status", "away"),
    [(400, False), (302, True), (401, True), (404, True), (410, True), (429, True), (503, True)],
)
def test_only_2xx_is_done_and_what_is_about_the_whole_target_is_told_apart(web, hook, status, away):
    """A redirect would hand the number to another host; one bad number would stop all others."""
    web.answer = lambda _: (status, b"+33612345678 is not welcome")
    found = tell(hook, event(FRENCH))
    assert (found.done, found.away, len(web.asked)) == (False, away, 1)
    assert "12345678" not in found.answer


def test_a_target_that_does_not_answer_or_never_ends_its_answer_is_away(web, hook):
    """A try would hold the process until it is taken for dead."""

    def closed(_):
        raise ConnectionError

    web.answer = closed
    found = tell(hook, event(FRENCH))
    assert not found.done and found.away
    web.answer = lambda _: (200, b"x" * 1_000_000)
    assert tell(hook, event(FRENCH)).done and len(tell(hook, event(FRENCH)).answer) <= 200


def test_a_key_that_is_none_or_another_host_s_redirect_says_so_and_sends_nothing(web, hook, tmp_path):
    """A receiver would see unsigned events."""
    (tmp_path / "signing_key").write_text("not base64!")
    found = tell(hook, event(FRENCH))
    assert not found.done and found.away and not web.asked


def test_a_folder_gets_whole_files_with_their_digest_and_the_same_file_again(tmp_path):
    """Whoever collects the files would take half of one, or cannot tell whether it is whole."""
    target = FolderTarget(folder(tmp_path))
    events = [event(FRENCH + at, list_="all", at=at) for at in range(3)]
    assert tell(target, *events).done and tell(target, *events).done
    data, ok = sorted(tmp_path.iterdir())
    assert (data.suffix, ok.name) == (".csv", f"{data.name}.ok")
    rows = list(csv.DictReader(data.read_text().splitlines()))
    assert [each["number"] for each in rows] == [f"+{FRENCH + at}" for at in range(3)]
    assert rows[0]["id"] == events[0].id and rows[0]["event"] == "opted-out"
    assert ok.read_text() == f"3 {hashlib.sha256(data.read_bytes()).hexdigest()}\n"
    assert not tell(FolderTarget(folder(tmp_path / "gone")), *events).done


def test_what_is_wrong_with_a_target_is_told_before_anything_is_sent(tmp_path):
    """An operator would learn of a missing secret from a regulator."""
    wrong = FanoutTarget(
        connector="vicidial", lists={"internal": "A", "tps": "A"}, lifts=True, settings={"uri": "x"}
    )
    found = "\n".join(problems_of("d", wrong))
    default = wrong.model_copy(update={"lists": {"internal": "", "tps": "SYSTEM_INTERNAL"}})
    assert "its own list" in "\n".join(problems_of("d", default)), (
        "the connector's own list is SYSTEM_INTERNAL"
    )
    for each in (
        "settings.url is missing",
        "settings.uri is unknown",
        "secrets.password is missing",
        "its own list",
    ):
        assert each in found
    for name in ("Dialler 7", "dialler-33612345678"):
        assert problems_of(name, wrong) == [
            "fanout.targets: name each in lower-case letters, digits and hyphens, as in dialler-1"
        ]
    assert "gets nothing" in problems_of("d", FanoutTarget(connector="webhook"))[0]
    assert "convoso has no recalled" in "\n".join(
        problems_of("d", FanoutTarget(connector="convoso", recalls=True))
    )
    assert "is none of convoso, " in problems_of("d", FanoutTarget(connector="five9", recalls=True))[0]
    assert "not a folder" in problems_of("d", FanoutTarget(connector="folder", recalls=True))[0]


def test_a_number_that_is_too_long_is_the_target_s_to_refuse(web, tmp_path):
    """One record of a neighbour on the topic of recalls would end the process, at each start again."""
    web.answer = lambda _: (400, b"no such number")
    settings = FanoutTarget(
        connector="vicidial",
        recalls=True,
        settings={"url": web.url},
        secrets=secrets(tmp_path, user="api", password="let me in"),
    )
    found = tell(target_of(settings), event(10**19, "recalled"))
    assert not found.done and not found.away


@pytest.mark.parametrize("token", ["caf\u00e9", "a\r\nX-Admin: 1"])
def test_a_token_that_no_header_may_hold_is_a_failure(web, tmp_path, token):
    """The process would end, and end again at each start: no other opt-out would reach that target."""
    settings = FanoutTarget(
        connector="genesys-cloud",
        lists={"internal": "list-1"},
        secrets=secrets(tmp_path, client_id="id", client_secret="secret"),
    )
    web.answer = lambda _: (200, f'{{"access_token": "{token}"}}'.encode())
    target = HttpTarget(settings, connector.load("genesys-cloud"), to(web))
    found = tell(target, event(list_="list-1"))
    assert (found.done, found.away) == (False, True)
    assert not any("x-admin" in each.headers for each in web.asked)
    web.answer = GenesysCloud()
    assert tell(target, event(list_="list-1")).done, "it asks for another one"


def test_a_target_that_shows_a_secret_gets_it_into_no_receipt_and_no_log_line(web, hook, tmp_path):
    """Whoever may read the receipts could write to the target."""
    key = (tmp_path / "signing_key").read_text().strip()
    web.answer = lambda _: (403, f"bad key {key}, or {key[6:]}".encode())
    answer = tell(hook, event(FRENCH)).answer
    assert "bad key" in answer and key not in answer


def test_an_answer_that_unpacks_to_more_than_memory_is_not_unpacked(web, hook):
    """A target could take all memory of the process with a small body."""
    packed = gzip.compress(gzip.compress(b" " * 50_000_000))
    web.answer, web.headers = lambda _: (200, packed), {"content-encoding": "gzip, gzip"}
    tracemalloc.start()
    try:
        assert tell(hook, event(FRENCH)).done
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_cookies_of_a_target_are_not_kept(web, hook):
    """A target that sets a new one with each answer would fill the memory, and in the end refuse every request."""
    web.answer, web.headers = lambda _: (200, b""), {"set-cookie": "a=1"}
    assert tell(hook, event(FRENCH)).done and tell(hook, event(FRENCH)).done
    assert "cookie" not in web.asked[1].headers


def test_headers_that_never_end_are_cut_at_the_deadline(web, hook, tmp_path):
    """A target that sends a byte now and then would hold the process until it is taken for dead, and so after each start."""
    with dripping(0.1) as (url, _):
        settings = hook._settings.model_copy(update={"settings": {"url": f"{url}/"}})
        began = time.monotonic()
        found = tell(target_of(settings), event(FRENCH), seconds=1)
        assert (found.done, found.away) == (False, True) and time.monotonic() - began < 30


def test_no_answer_takes_long_to_be_understood():
    """A target that repeats a text would hold the process until it is taken for dead."""
    texts = (
        "LEAD HAS BEEN UPDATED",
        "NOT REMOVED FROM HOPPER - ",
        "update_lead ",
        "4155552671|1|",
        "1-" * 10,
    )
    steps = connector.load("vicidial")
    values = {"number": "4155552671", "list": "ACME"}
    answer = "".join(text * (8 * 1024 // len(texts) // len(text)) for text in texts)
    began = time.process_time()
    for step in (*steps.check, *steps.opted_out, *steps.lifted, *steps.recalled):
        for pattern in step.done:
            connector.matches(pattern, values, answer)
        if step.find:
            connector.found(step.find, values, answer)
    assert time.process_time() - began < 5


def own(tmp_path, steps, **settings):
    """A target of a connector of the operator's own, with these steps."""
    file = tmp_path / "own.toml"
    file.write_text(f'number = "digits"\nlist = "all"\nsettings = {{ url = "" }}\n{steps}\n')
    given = {"lists": {"internal": "all"}, "settings": {"url": "http://127.0.0.1:9"}, **settings}
    return FanoutTarget(connector=str(file), **given)


def test_an_operator_declares_a_system_of_their_own(web, tmp_path):
    """Every other dialler would need a release of ours; or the target would answer to `{number}`, and have no opt-out."""
    settings = own(
        tmp_path,
        '[[opted-out]]\nurl = "{url}/dnc/{list}"\ndone = ["added", "there"]\n'
        'json = { phones = ["{number}", { all = "{numbers}" }], on = true }',
        lists={"internal": "a/b"},
        settings={"url": web.url},
    )
    assert problems_of("own", settings) == []
    web.answer = lambda _: (409, b"there")
    assert tell(target_of(settings), event(FRENCH, list_="a/b")).done
    assert web.asked[0].path == "/dnc/a%2Fb"
    assert json.loads(web.asked[0].body) == {
        "phones": [f"{FRENCH}", {"all": [f"{FRENCH}"]}],
        "on": True,
    }


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ('[[opted-out]]\nurl = "{url}/{nubmer}"', "{nubmer} is unknown"),
        ('[[opted-out]]\nurl = "{url}"\njson = [["{Number}"]]', "{Number} is unknown"),
        ('[[opted-out]]\nurl = "{url}"\njson = { a = "{ number }" }', "{number } is unknown"),
        ('[[opted-out]]\nurl = "{url}"\njson = { "{number}" = 1 }', "cannot be filled"),
        ('[[opted-out]]\nurl = "{url}/{list}"', "no step sends {number}"),
        ('[[opted-out]]\nurl = "{url}/{numbers}"', "{numbers} is a list"),
        ('[[opted-out]]\nurl = "{url}"\njson = { a = "+{numbers}" }', "other text around it"),
        ('[[opted-out]]\nurl = "{url}/{number}"\ndone = ["ok)"]', "not a regular expression"),
        ('[[opted-out]]\nurl = "{url}/{number}"\ndone = ["{lsit} ok"]', "{lsit} is unknown"),
        ('[[opted-out]]\nurl = "{url}/{number}"\nfind = "id"', "needs one group"),
        ('[[opted-out]]\nurl = "{url}/{number}/{found}"', "{found} is unknown"),
        ('[[opted-out]]\nurl = "{url}/{number}/{token}"', "{token} is unknown"),
        ('[[opted-out]]\nurl = "{url}/{number}"\nmethod = "PSOT"', "Invalid enum value 'PSOT'"),
        ('[[opted-out]]\nurl = "{url}/{number}"\nhaeders = {}', "haeders"),
        ('[[opted-out]]\nurl = "{url}/{number}"\njson = { day = 2026-01-01 }', "not JSON serializable"),
        ('[[opted-out]]\nurl = "{url}/{number}"\njson = 1\nform = { a = "b" }', "cannot both be sent"),
        ('[[opted-out]]\nurl = "{url}/{number}"\nheaders = { "a b" = "c" }', "is not a name"),
        ('[[opted-out]]\nurl = "{number}.example"', "no http:// or https://"),
        ('[[opted-out]]\nurl = "{url}/{number}"\n[login]\nurl = "{url}"', "find is missing"),
        ('[[opted-out]]\nurl = "{url}/{number}"\n[login]\nurl = "{url}/{token}"', "{token} is unknown"),
        ("[[opted-out]]\nurl = ", "Invalid value"),
        ('batch = 1000\n[[opted-out]]\nurl = "{url}/{number}"', "send {numbers}"),
        ('batch = 0\n[[opted-out]]\nurl = "{url}/{number}"', "batch"),
    ],
)
def test_a_typo_in_a_connector_is_told_at_the_start(tmp_path, steps, problem):
    """The process would end at the first opt-out, or the target would get a text in place of the number."""
    assert problem in "\n".join(problems_of("own", own(tmp_path, steps)))


def test_a_dry_delivery_shows_each_request_and_no_secret(tmp_path):
    """A misplaced number is seen only in a request; whoever looks over the shoulder could write to the target."""
    settings = FanoutTarget(
        connector="webhook",
        lists={"internal": "acme"},
        recalls=True,
        settings={"url": "https://me:hunter2@hooks.example/T000/hunter3?key=hunter4"},
        secrets=secrets(tmp_path, signing_key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    )
    assert problems_of("hook", settings) == []
    opted_out, recalled = dry_delivery("hook", settings)
    assert opted_out.request.startswith("POST https://hooks.example/")
    body = json.loads(opted_out.body)
    assert (body["data"]["number"], body["data"]["list"]) == ("+33199001234", "acme")
    assert json.loads(recalled.body)["type"] == "number.recalled"
    shown = repr([opted_out, recalled])
    assert not any(secret in shown for secret in ("hunter", "MfKQ9r8"))
    (file,) = dry_delivery("folder", folder(tmp_path))
    assert "+33199001234" in file.body and not list(tmp_path.glob("*.csv"))
