"""The command line, called in the process of a test."""

import sys

import pytest

from sweeps.cli import main


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Call `kdsweep` with these words; returns its exit code and what it printed to standard output and error."""
    monkeypatch.setattr(sys, "argv", ["kdsweep", *map(str, words)])
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()
