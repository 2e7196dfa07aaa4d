"""`lists export`: a register as a file, from which the same register can be made again."""

import os

import pytest

from stream_scrub.errors import ConfigError, Corrupt, Refused
from stream_scrub.log.replay import Replay
from stream_scrub.model import Deadline
from stream_scrub.queries import export_registers
from tests.support.fakes import lists
from tests.support.golden import files as golden
from tests.support.golden.evidence import reader

RECORDS = list(golden.log("evidence"))
LAST = RECORDS[-1].offset


def quiet(_what, _done, _of):
    pass


def export(folder, *names, records=RECORDS, **more):
    return export_registers.run(
        export_registers.ExportOptions(names, folder, **more),
        reader(records),
        "opposition.log",
        quiet,
        Deadline.after(15),
    )


def replayed(upto=LAST):
    replay = Replay(keep_ends=True)
    for record in RECORDS:
        if record.offset <= upto:
            replay.take(record)
    return replay


def ends_of(replay, name):
    stated = replay.known(name).ends.stated()
    return dict(zip(stated.numbers.tolist(), stated.ends.tolist(), strict=True))


def read_back(folder, name):
    (folder / "back").mkdir(exist_ok=True)
    return lists.read(folder / "back", (folder / f"{name}.jsonl").read_bytes())


@pytest.mark.parametrize("upto", [4, 26, LAST])
def test_what_was_exported_reads_as_the_register(upto, tmp_path):
    """After a corrupt log opt-outs would be missing from the next one, and consents last for ever."""
    told = export(tmp_path, position=upto)

    replay = replayed(upto)
    assert {each.register for each in told.registers} == set(replay.index.registers)
    assert told.position == replay.index.position and told.fault is None
    for name, register in replay.index.registers.items():
        back = read_back(tmp_path, name)
        ending = back.ends()
        assert back.bitmap() == register.numbers
        assert dict(zip(ending.numbers.tolist(), ending.ends.tolist(), strict=True)) == ends_of(replay, name)
        assert (back.kind, back.effective_at, back.scope) == (
            register.kind,
            register.effective_at,
            register.scope,
        )
        assert back.refused == 0
    assert not list(tmp_path.glob("*.part"))


def test_one_register_alone(tmp_path):
    """Moving one list would take all of them."""
    told = export(tmp_path, "consent")

    (only,) = told.registers
    register = replayed().index.registers["consent"]
    assert only.count == len(register.numbers) and only.chain == register.chain
    (file,) = tmp_path.iterdir()
    assert file.name == "consent.jsonl"


def test_a_corrupt_log_is_exported_only_when_that_is_asked(tmp_path):
    """Half of a register would be taken for the whole."""
    records = [record if record.offset != 26 else record._replace(value=b"") for record in RECORDS]
    with pytest.raises(Corrupt, match="log offset 2"):
        export(tmp_path, records=records)
    assert not list(tmp_path.iterdir())

    told = export(tmp_path, records=records, salvage=True)

    assert "log offset 2" in told.fault and told.position < 26
    assert read_back(tmp_path, "list").bitmap() == replayed(25).index.registers["list"].numbers


def test_a_register_that_is_not_there_is_named(tmp_path):
    """A typing error would look like an empty register."""
    with pytest.raises(ConfigError, match="at that position: bloctel; it has consent, "):
        export(tmp_path, "bloctel")
    with pytest.raises(ConfigError, match="it has no register"):
        export(tmp_path, "list", position=0)


def test_an_export_is_for_nobody_else_and_goes_where_it_says(tmp_path):
    """Whoever may write in the folder would have numbers written elsewhere, over another file, or read them."""
    (tmp_path / "precious").write_text("precious")
    name = next(iter(replayed().index.registers))
    (tmp_path / f"{name}.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="file exists"):
        export(tmp_path, name)
    (tmp_path / f"{name}.jsonl").unlink()
    (tmp_path / f"{name}.jsonl.part").symlink_to(tmp_path / "precious")
    before = os.umask(0)
    try:
        export(tmp_path, name)
    finally:
        os.umask(before)
    assert (tmp_path / "precious").read_text() == "precious" and not (tmp_path / "nowhere").exists()
    assert (tmp_path / f"{name}.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_export_overwrites_nothing_that_came_meanwhile(tmp_path, monkeypatch):
    """A file that somebody wrote while the log was read would be gone."""
    name = next(iter(replayed().index.registers))
    real = export_registers.write

    def meanwhile(*arguments):
        (tmp_path / f"{name}.jsonl").write_text("precious")
        real(*arguments)

    monkeypatch.setattr(export_registers, "write", meanwhile)
    with pytest.raises(Refused, match="exists"):
        export(tmp_path, name)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["precious"]
