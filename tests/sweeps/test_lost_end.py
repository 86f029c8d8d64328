"""A ledger that has lost records is never read in silence: every command that reads it says what is lost."""

import shutil

import pytest
from called_command import called

from kdtrain.errors import InputError
from sweeps.ledger import ledger as ledger_module
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import SET_ASIDE, Ledger, read, repair
from sweeps.ledger.sweep_events import Note
from sweeps.outcome.loaded import load_state
from sweeps.outcome.stale import stale_tables
from sweeps.outcome.tabulate import write_tables
from sweeps.store.store import Store
from tests.analysis.conftest import rows_of


@pytest.fixture(scope="module")
def made(tmp_path_factory, fake):
    """A sweep of two sessions with a ledger of several files, without tables; and how many records it has."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        patch.setattr(ledger_module, "SEGMENT_BYTES", 4000)
        for trials in (1, 2):
            fake.run(fake.make_spec(studies=["none", "kd"], budget={"trials": trials}), folder)
    return folder, len(read(folder))


@pytest.fixture
def sweep(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "D")
    return tmp_path / "D"


@pytest.fixture
def records(made):
    return made[1]


@pytest.fixture
def command(capsys, monkeypatch):
    def run(*words):
        return called(monkeypatch, capsys, *words)

    return run


def files(sweep):
    return sorted((sweep / "ledger").glob("*.jsonl"))


def cut(path, lines):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def number(path):
    return int(path.name[:9])


LOSSES = {
    "the last file deleted": lambda sweep: files(sweep)[-1].unlink(),
    "the last two files deleted": lambda sweep: [path.unlink() for path in files(sweep)[-2:]],
    "all files deleted": lambda sweep: [path.unlink() for path in files(sweep)],
    "the last file emptied": lambda sweep: files(sweep)[-1].write_bytes(b""),
    "the last record cut off": lambda sweep: cut(files(sweep)[-1], 1),
    "the last record torn": lambda sweep: files(sweep)[-1].write_bytes(files(sweep)[-1].read_bytes()[:-20]),
    "the last line end cut off": lambda sweep: files(sweep)[-1].write_bytes(files(sweep)[-1].read_bytes()[:-1]),
    "a bit of the last record flipped": lambda sweep: flip(files(sweep)[-1], -60),
    "the last file renamed": lambda sweep: files(sweep)[-1].rename(files(sweep)[-1].with_suffix(".jsonl.bak")),
    "the last file under another number": lambda sweep: files(sweep)[-1].rename(
        sweep / "ledger" / "000000999-0002.jsonl"
    ),
    "the last file full of zeros": lambda sweep: files(sweep)[-1].write_bytes(bytes(999)),
    "the last file older": lambda sweep: cut(files(sweep)[-1], 2),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_a_lost_end_is_said_and_repaired(sweep, records, lose, command):
    lose(sweep)
    with pytest.raises(InputError, match=rf"the ledger is damaged: .*kdsweep repair {sweep}`") as refusal:
        load_state(sweep)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="the ledger is damaged"):
        Ledger(sweep)
    code, out, _ = command("repair", sweep)
    assert code == 0
    assert "repaired: " in out
    assert len(read(sweep)) < records
    assert command("repair", sweep)[1].startswith("the ledger is whole")
    assert any(name.endswith(".txt") for name in Store(sweep).names(SET_ASIDE)), "what was lost is on record"


@pytest.mark.parametrize("words", [["status"], ["tables"], ["report"], ["best"], ["best", "--freeze"], ["ablate"]])
def test_every_command_that_reads_a_ledger_says_what_is_lost(sweep, records, command, words):
    first = number(files(sweep)[-1])
    files(sweep)[-1].unlink()
    code, out, err = command(words[0], sweep, *words[1:])
    assert code == 2
    lost = f"records {first} to {records}" if first < records else f"record {records}"
    assert f"its end is lost, {lost}; records 1 to {first - 1} are intact" in err
    assert not out
    assert not (sweep / "tables").exists()


def test_a_run_does_not_resume_from_a_lost_end(sweep, command):
    files(sweep)[-1].unlink()
    code, _, err = command("run", sweep / "spec.yaml", "--dir", sweep, "--inline")
    assert code == 2
    assert "its end is lost" in err


def test_after_a_repair_the_sweep_runs_to_its_end(sweep, fake, records):
    expected = {trial.id: trial.curve for trial in load_state(sweep)[1].trials.values()}
    write_tables(sweep)
    files(sweep)[-1].unlink()
    repair(sweep)
    assert not (sweep / "tables").exists(), "tables of the lost records are set aside"
    state = fake.run(load_state(sweep)[0], sweep)
    assert {trial.id: trial.curve for trial in state.trials.values()} == expected
    write_tables(sweep)


def test_an_older_copy_of_the_whole_ledger_is_noticed_by_the_tables(sweep, records, tmp_path):
    write_tables(sweep)
    first = number(files(sweep)[-1])
    files(sweep)[-1].unlink()
    (sweep / HEAD).unlink()
    with pytest.raises(InputError, match=f"its end is lost, record(s {first} to)? {records};"):
        load_state(sweep)


def test_the_ledger_of_another_sweep_is_noticed_by_the_tables(sweep, tmp_path, fake):
    write_tables(sweep)
    other = tmp_path / "other"
    fake.run(fake.make_spec(studies=["none", "kd"], seed=8), other)
    shutil.rmtree(sweep / "ledger")
    shutil.copytree(other / "ledger", sweep / "ledger")
    with pytest.raises(InputError, match="is not the one that the tables were made from"):
        load_state(sweep)


def test_records_that_were_written_anew_are_noticed(sweep, tmp_path, fake, records):
    """Another sweep has as many records, each with its checksum and seal."""
    other = tmp_path / "other"
    fake.run(fake.make_spec(studies=["none", "kd"], seed=8), other)
    for path in files(sweep):
        path.unlink()
    for path in files(other):
        shutil.copy(path, sweep / "ledger")
    with pytest.raises(InputError, match=r"is not the one that was written|its end is lost"):
        load_state(sweep)


@pytest.mark.parametrize(
    "change", [lambda head: head.unlink(), lambda head: flip(head, 15), lambda head: head.write_bytes(b"")]
)
def test_a_ledger_without_a_note_reads_and_says_so(sweep, records, change):
    change(sweep / HEAD)
    notices = []
    assert len(read(sweep, notices.append)) == records
    assert len(notices) == 1
    assert "head.json is missing or damaged" in notices[0]
    Ledger(sweep).close()


def test_a_driver_that_was_killed_between_a_commit_and_its_note_resumes_without_alarm(sweep, records):
    before = (sweep / HEAD).read_bytes()
    ledger = Ledger(sweep)
    ledger.append(Note("committed"))
    ledger._lock.close()
    (sweep / HEAD).write_bytes(before)
    notices = []
    assert len(read(sweep, notices.append)) == records + 1
    Ledger(sweep, notices.append).close()
    assert not notices


def test_a_query_of_tables_that_are_behind_says_so(sweep, records, command, fake):
    write_tables(sweep)
    assert stale_tables(Store(sweep)) is None
    fake.run(fake.make_spec(studies=["none", "kd"], budget={"trials": 3}), sweep)
    now = len(read(sweep))
    code, out, err = command("query", sweep, "select count(*) n from trials")
    assert code == 0
    assert "n" in out
    assert f"note: the tables were made from {records} of the {now} records" in err
    assert f"`kdsweep tables {sweep}` makes them anew" in err
    assert rows_of(sweep, "select count(*) n from trials")[0]["n"] > 0
    write_tables(sweep)
    assert command("query", sweep, "select 1")[2] == ""


def test_tables_that_know_more_than_the_ledger_are_named_by_a_query(sweep, command):
    write_tables(sweep)
    older = Store(sweep).read(HEAD)
    ledger = Ledger(sweep)
    ledger.append(Note("one more"))
    ledger.close()
    write_tables(sweep)
    (sweep / HEAD).write_bytes(older)
    assert "not all of which the ledger has" in command("query", sweep, "select 1")[2]
