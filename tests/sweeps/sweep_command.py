"""`kdsweep run` as a process of its own, to be watched, killed and started again."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweeps.store.store import Store

NETWORK = {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}
SMALL = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}
"""Options that make a quick student of it."""


def streets(train: int, select: int) -> dict[str, Any]:
    """Small drawn scenes."""
    return {"name": "streets", "size": [32, 48], "counts": {"train": train, "select": select, "test": 1}}


@dataclass(frozen=True)
class Command:
    """A sweep's command; its output goes to a file, since Ray's agents outlive a killed driver and would hold a pipe.

    Attributes:
        folder: For spec and output.
        spec: The sweep.
        sweep: Its folder.
        inline: Without Ray.
        cache: Of the machine; None for one in the folder.
    """

    folder: Path
    spec: Mapping[str, Any]
    sweep: str
    inline: bool = False
    cache: Path | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        spec = self.folder / "spec.yaml"
        spec.write_text(yaml.safe_dump(dict(self.spec)))
        command = [sys.executable, "-c", "from sweeps.cli import main; main()", "run", str(spec), "--dir", self.sweep]
        environment = {**os.environ, "KDSWEEP_CACHE": str(self.cache or self.folder / "cache")}
        with self.log.open("wb") as log:
            options = ["--inline"] if self.inline else []
            return subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment)

    @property
    def log(self) -> Path:
        return self.folder / "run.log"

    def finish(self) -> str:
        """Run to the end; returns what was said."""
        return self.ended(self.start())

    def ended(self, process: "subprocess.Popen[bytes]") -> str:
        """Wait for the end of one that was started; returns what was said."""
        code = process.wait(timeout=400)
        said = self.log.read_text()
        assert code == 0, said
        return said

    def start_and_await(self, records: int) -> "subprocess.Popen[bytes]":
        """Start, and return once the ledger holds so many records."""
        process, deadline = self.start(), time.monotonic() + 200
        while self.records() < records:
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the sweep does not move"
            time.sleep(0.02)
        return process

    def kill_after(self, records: int) -> None:
        """Start, and SIGKILL once the ledger holds so many records."""
        process = self.start_and_await(records)
        process.kill()
        process.wait()

    def records(self) -> int:
        store = Store(self.sweep)
        files = [name for name in store.names("ledger") if name.endswith(".jsonl")]
        return sum(store.read(f"ledger/{name}").count(b"\n") for name in files)
