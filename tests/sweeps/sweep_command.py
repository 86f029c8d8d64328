"""`kdsweep run` as a process of its own, to be watched, killed and started again.

The processes are forks of one server that has imported the packages once, which spares each of them ten seconds.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from sweeps.store.store import Store

NETWORKS = Path(__file__).parents[1] / "kdtrain" / "networks"
NETWORK = {"arch": "tiny_networks:tiny"}
"""A network in which a process that trains it finds nothing to import but torch."""
LIBRARY_NETWORK = {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}
SMALL = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}
"""Options that make a quick student of the library's network."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pytest", "sweep_command", "sweeps.cli", "sweeps.run", "sweeps.launch.tune", "sweeps.outcome.results"]
)

_LEFT_BY_RAY = "RAY_AUTH_MODE"
"""What `ray.init` sets in its process. A fork of the server, whose Ray was loaded before, would then lack a token."""


def streets(train: int, select: int) -> dict[str, Any]:
    """Small drawn scenes."""
    return {"name": "streets", "size": [32, 48], "counts": {"train": train, "select": select, "test": 1}}


class Running:
    """A process of the command."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        """The exit code, negative for a signal; none while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code at the end; a process that does not end in time is killed."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"the command still ran after {timeout} s")
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.join()


Process = Running | subprocess.Popen[bytes]


@dataclass(frozen=True)
class Command:
    """A sweep's command; its output goes to a file, since Ray's agents outlive a killed driver and would hold a pipe.

    Attributes:
        folder: For spec and output.
        spec: The sweep.
        sweep: Its folder.
        inline: Without Ray.
        cache: Of the machine; None for one in the folder.
        forked: From the server; False for an interpreter of its own, as a shell would start it.
    """

    folder: Path
    spec: Mapping[str, Any]
    sweep: str
    inline: bool = False
    cache: Path | None = None
    forked: bool = True

    def start(self) -> Process:
        spec = self.folder / "spec.yaml"
        spec.write_text(yaml.safe_dump(dict(self.spec)))
        words = ["kdsweep", "run", str(spec), "--dir", self.sweep, *(["--inline"] if self.inline else [])]
        paths = [str(NETWORKS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **{name: value for name, value in os.environ.items() if name != _LEFT_BY_RAY},
            "KDSWEEP_CACHE": str(self.cache or self.folder / "cache"),
            "KDSWEEP_TRUST": "tiny_networks",
            "PYTHONPATH": os.pathsep.join(paths),
        }
        if not self.forked:
            command = [sys.executable, "-c", "from sweeps.cli import main; main()", *words[1:]]
            with self.log.open("wb") as log:
                return subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        process = _SERVER.Process(target=_run, args=(words, str(self.log), environment))
        process.start()
        return Running(process)

    @property
    def log(self) -> Path:
        return self.folder / "run.log"

    def finish(self) -> str:
        """Run to the end; returns the output."""
        return self.ended(self.start())

    def ended(self, process: Process) -> str:
        """Wait for the end of a started command; returns the output."""
        code = process.wait(timeout=400)
        output = self.log.read_text()
        assert code == 0, output
        return output

    def start_and_await(self, records: int) -> Process:
        """Start, and return once the ledger holds so many records."""
        process, deadline = self.start(), time.monotonic() + 200
        try:
            while self.records() < records:
                assert process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, "the sweep does not move"
                time.sleep(0.02 if self.sweep.startswith("/") else 0.2)  # asking an object store is work
        except BaseException:
            process.kill()
            raise
        return process

    def kill_after(self, records: int) -> None:
        """Start, and SIGKILL once the ledger holds so many records."""
        self.start_and_await(records).kill()

    def records(self) -> int:
        store = Store(self.sweep)
        files = [name for name in store.names("ledger") if name.endswith(".jsonl")]
        return sum(store.read(f"ledger/{name}").count(b"\n") for name in files)


def _run(words: list[str], log: str, environment: dict[str, str]) -> None:
    """What a process of the server does: the command, as if it had been typed."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)  # what the packages have set for Ray while they were imported stays
    sys.path.insert(0, str(NETWORKS))
    sys.argv = words
    from sweeps.cli import main

    main()
