"""Lists of hashes: what an import takes, what it refuses, and who matches afterwards."""

import base64
import io
import json
import zipfile
from datetime import timedelta

import pytest
from jsonschema import Draft202012Validator

from stream_scrub.config.settings import FanoutTarget
from stream_scrub.errors import ConfigError, Corrupt, Refused, StaleIndex
from stream_scrub.fanout.events import LogEvents
from stream_scrub.imports import import_list, plan_import
from stream_scrub.imports.formats import BadList
from stream_scrub.index import HashKeys, deltas
from stream_scrub.log.encode import publish, restated
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.queries import export_registers, history
from tests.support.fakes import law
from tests.support.fakes.hashes import KEY, by_hmac, by_sha, keys_in
from tests.support.fakes.lists import NOW
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, Publisher, bitmap, followed
from tests.support.fakes.scrubbers import scrub, scrubber
from tests.support.texts.pages import ROOT

LISTED = [33_612_345_670 + n for n in range(20)]
OTHER = 33_699_999_999
NEW_KEY = b"the key of the next year"


@pytest.fixture
def keys(tmp_path):
    return keys_in(tmp_path / "keys", b"short", b"a key of somebody else", KEY)


@pytest.fixture
def log(tmp_path, keys):
    """A log with the hashes of LISTED, for one campaign."""
    made = Log()
    imported(made, tmp_path, lines(LISTED), keys)
    return made


def lines(numbers, form="+{}", make=by_hmac):
    return "".join(f"{make(form.format(number)).hex()}\n" for number in numbers)


def imported(log, folder, content, keys, register="hashed@acme", hashed="hmac-sha256", known=None, **more):
    """Read, plan and publish, as `lists import` does."""
    file = folder / "list.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    known = f"+{LISTED[0]}" if known is None else known
    options = plan_import.ImportOptions(
        file=file,
        register=register,
        region="FR",
        max_bad=0.1,
        hashed=import_list.hashed_order(hashed, known, "FR"),
        keys=keys,
        register_unknown=True,
        **more,
    )
    with io.FileIO(file) as opened:
        reading = plan_import.read(options, NOW, lambda *_: None, opened)
    plan_import.check_lines(options, reading)
    plan = plan_import.plan_of(options, reading, followed(log, keep_ends=True), NOW)
    source = DeltaSource("list.csv", "ab" * 32)
    publish(Writer(log), plan.base, plan.delta, plan.effective_at, source, known=plan.known)
    return reading


def blocked(log, keys, number, campaign="acme"):
    value = f'{{"phone":"+{number}","campaign":"{campaign}"}}'.encode()
    index = followed(log).index.with_register(law.register("list"))
    return scrub(value, scrubber(hash_keys=keys), index).stamp.get("registers", [])


@pytest.mark.parametrize(
    ("form", "described"),
    [
        ("+{}", "hmac-sha256 of +CCXXX"),
        ("{}", "hmac-sha256 of CCXXX"),
        ("00{}", "hmac-sha256 of 00CCXXX"),
        ("0{}", "hmac-sha256 of 0XXX, numbers of +33 only"),
        ("{}", "hmac-sha256 of XXX, numbers of +33 only"),
    ],
)
def test_the_known_number_says_in_which_form_and_by_which_key_a_list_was_hashed(
    tmp_path, keys, form, described
):
    """A list in another form than expected would be imported, and never match anybody."""
    numbers = [int(str(each)[2:]) for each in LISTED] if "only" in described else LISTED
    log = Log()

    reading = imported(log, tmp_path, "hash\n" + lines(numbers, form), keys)

    assert described in reading.described and (reading.taken, reading.titles) == (20, 1)
    assert blocked(log, keys, LISTED[7]) == blocked(log, keys, LISTED[7], "") == ["hashed@acme"]
    assert not blocked(log, keys, OTHER) and not blocked(log, keys, LISTED[7], "zeta")
    imported(log, tmp_path, lines(numbers[:2], form), keys, change="removes")
    assert not blocked(log, keys, LISTED[0]) and blocked(log, keys, LISTED[2])


@pytest.mark.parametrize("make", [by_sha, lambda text: by_sha(text, KEY)])
def test_sha256_is_taken_with_a_salt_and_without(tmp_path, keys, make):
    """Most sellers hash without a key: their lists could not be used."""
    log = Log()
    imported(log, tmp_path, lines(LISTED, "{}", make), keys, hashed="sha256")

    assert blocked(log, keys, LISTED[3]) == ["hashed@acme"]


@pytest.mark.parametrize(
    ("content", "known", "says"),
    [
        (lines(LISTED), f"+{OTHER}", "the known number is not in it"),
        (lines(LISTED, "+{}", lambda text: by_hmac(text, b"lost")), None, "the known number is not in it"),
        (lines(LISTED, "+{}", by_sha), None, "the known number is not in it"),
        (
            lines(LISTED) + base64.b64encode(by_hmac("+1")).decode(),
            None,
            "some of its hashes are in hex and some in Base64",
        ),
        ("".join(f"+{each}\n" for each in LISTED), None, "the known number is not in it"),
        (lines([LISTED[0]]) + f"{lines([OTHER]).strip()},{lines([1]).strip()}\n", None, "lines"),
    ],
)
def test_a_list_that_is_hashed_in_another_way_is_refused_and_no_number_is_repeated(
    tmp_path, keys, content, known, says
):
    """A list that can match nobody would look like protection, or the hash of an e-mail address be taken for a number's."""
    log = Log()
    with pytest.raises(BadList, match=says) as refused:
        imported(log, tmp_path, content, keys, known=known)

    assert not log.records
    assert not any(str(each)[2:] in str(refused.value) for each in (*LISTED, OTHER))


@pytest.mark.parametrize(
    ("hashed", "known"),
    [
        ("md5", f"+{OTHER}"),
        ("sha256", ""),
        ("sha256", "12"),
        ("sha256", f"+{OTHER}={by_sha(f'+{OTHER}').hex()}"),
        ("drop", f"+{OTHER}"),
        ("", f"+{OTHER}"),
    ],
)
def test_an_order_that_proves_nothing_is_refused(hashed, known):
    """Nobody would learn that the list was not proven."""
    with pytest.raises(ConfigError) as refused:
        import_list.hashed_order(hashed, known, "FR")
    assert str(OTHER) not in str(refused.value)


def test_hmac_without_a_key_is_refused(tmp_path):
    """The operator would look for a mistake in the list."""
    with pytest.raises(ConfigError, match=r"needs lists\.hash_keys"):
        imported(Log(), tmp_path, lines(LISTED), keys_in(tmp_path / "keys", b"too short"))


@pytest.mark.parametrize("form", ["0{}", "+33{}", "0033{}"])
def test_a_number_overseas_is_found_in_the_form_of_france(tmp_path, keys, form):
    """The people of Martinique and Reunion who objected would be called: a buyer in Paris hashes +33 692 12 34 56."""
    log = Log()
    content = lines(["692123456", "596601234", "612345678"], form)

    imported(log, tmp_path, content, keys, known="0612345678")

    for number in (262692123456, 596596601234, 33612345678):
        assert blocked(log, keys, number) == ["hashed@acme"]
    assert not blocked(log, keys, 262692123457)
    imported(log, tmp_path, content, keys, known="+262692123456")


def test_drop_binds_ten_digits_to_plus_one(tmp_path):
    """The French number whose last ten digits are a Californian's would be blocked for that person's request."""
    folder, log = tmp_path, Log()
    official, texan = (
        "vGM7y5n+hBXRSEAklhHDPCbysyNgYTmXdMcagGUOY8E=",
        base64.b64encode(by_sha("3612345678")).decode(),
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("20261101_ABCD_Phone.csv", f"ID,Hash\nA1,{official}\nA2,{texan}\n")
    register = "us-ca-drop"
    imported(log, folder, packed.getvalue(), HashKeys(), register=register, hashed="drop", known="")
    held = followed(log).index.registers[register]

    assert held.has(14_155_559_317) and held.has(13_612_345_678)
    assert not held.has(33_612_345_678) and not held.has(493_612_345_678)
    removed = f"ID,Hash,ListType\nA1,{official},Phone\n"
    imported(log, folder, removed, HashKeys(), register=register, hashed="drop", known="", change="removes")
    assert not followed(log).index.registers[register].has(14_155_559_317)


def test_a_register_holds_numbers_or_hashes_of_one_key_and_a_full_list_brings_the_next_key(
    log, tmp_path, keys
):
    """Numbers among hashes, or hashes of a lost key, would never match again."""
    keys_in(tmp_path / "keys", NEW_KEY)  # it takes the place of the file that is too short
    new = lines(LISTED, "+{}", lambda text: by_hmac(text, NEW_KEY))

    with pytest.raises(BadList, match="another form or key"):
        imported(log, tmp_path, new, keys, change="adds")
    with pytest.raises(BadList, match="holds hashes"):
        imported(log, tmp_path, f"+{OTHER}\n", keys, hashed="", known="")
    with pytest.raises(BadList, match="holds hashes"):
        imported(log, tmp_path, f"+{OTHER}\n", keys, "hashed", hashed="", known="")
    imported(log, tmp_path, new, keys, allow_change=True)
    assert blocked(log, keys, LISTED[0])

    clear = Publisher(log)
    clear.import_list("tps", {OTHER: 0})
    with pytest.raises(BadList, match="holds numbers"):
        imported(log, tmp_path, lines(LISTED), keys, "tps")
    clear.import_list("consent", {OTHER: 0}, RegisterKind.ALLOW)
    with pytest.raises(BadList, match="holds numbers"):
        imported(log, tmp_path, lines(LISTED), keys, "consent")
    with pytest.raises(BadList, match="cannot hold hashes"):
        imported(log, tmp_path, lines(LISTED), keys, "agreed", kind=RegisterKind.ALLOW)


def test_without_the_key_nothing_is_judged_and_a_key_that_comes_is_found(log, tmp_path, keys):
    """A worker that was started without the key would allow everybody in the register."""
    late = keys_in(tmp_path / "later")

    for number in (LISTED[0], OTHER):
        with pytest.raises(
            StaleIndex, match=r"needs the key [0-9a-f]{16}, and no file in lists\.hash_keys"
        ) as held:
            blocked(log, late, number)
        assert held.value.cause == "hash-key" and KEY.decode() not in str(held.value)
    assert not blocked(log, late, LISTED[0], "zeta"), "no other campaign's prospects wait"
    keys_in(tmp_path / "later", KEY)
    assert blocked(log, late, LISTED[0])


def test_the_log_a_snapshot_an_audit_and_a_renewal_keep_how_it_was_hashed(log, tmp_path, keys):
    """A restarted worker would take hashes for numbers, and allow everybody."""
    publisher = Publisher(log, full_every=1)
    publisher.put("hashed@acme", deltas.nothing(publisher.base("hashed@acme").numbers, "list"))
    live = followed(log)
    register = live.index.registers["hashed@acme"]

    writer = SnapshotWriter(tmp_path / "state", "log", on_write=lambda why: why and pytest.fail(why))
    writer.offer(live.state)
    writer.stop()
    restored = SnapshotWriter(tmp_path / "state", "log", on_unused=pytest.fail).begin(
        Reader(log), Deadline.after(60)
    )
    renewed = Log()
    there = followed(renewed, keep_ends=True).known("hashed@acme")
    known, source = publisher.replay.known("hashed@acme"), DeltaSource("old", "cd" * 32)
    Writer(renewed).publish(restated(register, known, None, there, source).records)

    late = followed(log, start="latest-full").index
    for index in (late, restored.index, followed(renewed).index):
        held = index.registers["hashed@acme"]
        assert held.hashed == register.hashed and held.numbers == register.numbers
    assert not any(KEY in (record.value or b"") for record in log.records)
    schema = json.loads((ROOT / "schemas" / "seal.schema.json").read_text())
    Draft202012Validator(schema).validate(json.loads(log.records[-1].value))


def test_a_seal_that_changes_the_hashing_and_keeps_hashes_is_refused(log):
    """The hashes of the lost key would stand for people whom nobody finds any more."""
    publisher = Publisher(log)
    base, known = publisher.base("hashed@acme"), publisher.replay.known("hashed@acme")
    other = type(base.hashed)("sha256", "+", "", "")
    delta = deltas.Delta(bitmap([7]), bitmap([]), 0, hashed=other)
    publish(Writer(log), base, delta, AT + timedelta(days=2), DeltaSource("x", "ab" * 32), known=known)

    with pytest.raises(Corrupt, match="hashed in another way"):
        followed(log)


def test_history_follows_a_number_by_its_hash_or_refuses(log, keys):
    """An opposed number's history would say that it was never listed."""

    def asked(keys):
        deadline = Deadline.after(60)
        return (
            history.history(Reader(log), LISTED[0], "FR", lambda *_: None, deadline, keys),
            history.at(Reader(log), 99, LISTED[0], "FR", lambda *_: None, deadline, keys),
        )

    past, then = asked(keys)
    assert [(each.register, each.change) for each in past.events] == [("hashed@acme", "added")]
    assert past.registers[0].held and then.registers[0].held
    with pytest.raises(StaleIndex, match="needs the key"):
        asked(HashKeys())


def test_an_export_and_a_fan_out_refuse_hashes(log, tmp_path, keys):
    """They would hand out the first bits of hashes as people's phone numbers."""
    for names in ((), ("hashed@acme",)):
        options = export_registers.ExportOptions(folder=tmp_path, registers=names)
        with pytest.raises(ConfigError, match="hashed@acme: hashes"):
            export_registers.run(options, Reader(log), "log", lambda *_: None, Deadline.after(60))
    events = LogEvents(FanoutTarget(connector="x.toml", lists={"hashed@acme": ""}))
    part, seal = log.records
    assert not [*events.read(("log", 0), part.offset, part.value, part.headers, 0)]
    with pytest.raises(Refused, match="holds hashes"):
        events.read(("log", 0), seal.offset, seal.value, seal.headers, 0)
