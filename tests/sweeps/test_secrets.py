"""No command prints or records a secret that a URI or the message of a library holds."""

import sys

import pytest
import yaml

from kdtrain.errors import InputError
from sweeps.cli import main
from sweeps.ledger.failure import Crash
from sweeps.show.printer import Printer
from sweeps.store.store import Store, check_address

SECRET = "wJalrXUtnFEMI"
URIS = (
    f"s3://bucket/x?region=eu&secret_key={SECRET}",
    f"s3://AKIA:{SECRET}@bucket/x",
    f"s3://AKIA:{SECRET}/with/slash@bucket/x",
    f"gs://user:{SECRET}@bucket/x",
    f"abfs://container/x?client_secret={SECRET}",
    f"s3://bucket/x?session_token={SECRET}",
)
COMMANDS = (
    ("status",),
    ("tables",),
    ("report",),
    ("report", "--compare", "D2"),
    ("best",),
    ("query", "select 1"),
    ("export", "optuna"),
    ("repair",),
    ("run", "spec.yaml", "--inline", "--dir"),
)


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_with_a_secret_is_refused_and_not_echoed(uri):
    for use in (Store, check_address):
        with pytest.raises(InputError, match="must hold no key, token or password") as error:
            use(uri)
        assert SECRET not in str(error.value)


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_echoes_a_secret(monkeypatch, capsys, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    uri = URIS[0]
    line = [*words, uri] if "--dir" in words else [words[0], *([words[1]] if words[0] == "export" else []), uri]
    if "--compare" in words or words[0] == "query":
        line += words[1:]
    monkeypatch.setattr(sys, "argv", ["kdsweep", *line])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = "".join(capsys.readouterr())
    assert "must hold no key, token or password" in said
    assert SECRET not in said
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_with_a_secret_is_refused_before_anything_is_written(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    spec = {
        "name": "s",
        "data": {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 1}},
        "teacher": {"path": URIS[0]},
        "studies": ["kd"],
        "train": {"epochs": 1},
        "budget": {"trials": 1},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    for words in (["plan", "spec.yaml"], ["run", "spec.yaml", "--dir", "D", "--inline"]):
        monkeypatch.setattr(sys, "argv", ["kdsweep", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert SECRET not in "".join(capsys.readouterr())
    assert not (tmp_path / "D").exists()


def test_what_a_library_says_is_recorded_and_printed_without_secrets(capsys):
    crash = Crash.of(RuntimeError(f"403 for https://h/f?X-Amz-Signature={SECRET}"))
    assert SECRET not in crash.error + crash.trace
    Printer().print(f"trying https://user:{SECRET}@h/f again")
    assert capsys.readouterr().out == "trying https://***@h/f again\n"
