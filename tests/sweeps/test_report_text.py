"""`kdsweep report --text`, called as a command."""

from called_command import called

from sweeps.launch.inline import run_inline


def test_report_text_prints_the_verdict_alone_and_writes_nothing(tmp_path, fake, monkeypatch, capsys):
    with fake.open_driver(fake.make_spec(studies=["none", "kd"]), tmp_path / "d") as driver:
        run_inline(driver, fake.FakeTrain())
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = called(monkeypatch, capsys, "report", "--text", tmp_path / "d")
    assert code == 0
    assert "mIoU" in out
    assert out.count("\n") == 1
    assert "<" not in out
    assert sorted(tmp_path.rglob("*")) == before
