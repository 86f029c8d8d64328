"""Everything that a GPU must show, in one call of at most eight minutes on one card.

    PYTHONPATH=. python benchmarks/gpu.py --out gpu

It needs torch, torchvision, pydantic, pillow and safetensors, and no network. What needs Ray, Optuna,
segmentation-models-pytorch or pyarrow is left out, with a word, where these are not installed. Every section runs in a
process of its own under a time limit, and writes each figure when it has it (`rows.jsonl`), so a section that fails or
takes too long loses nothing of the others. At the end `gpu.md` and `gpu.parquet` hold all figures. `--toy` tries the
script itself at tiny sizes on a CPU.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import fused
import torch
from gpu_rows import counts, maps, numerics, sharing, sweep, training
from gpu_rows.bench import NETWORKS, ROWS, Bench, Row

from kdtrain.runtime.mps import stop_abandoned

LIMIT_S = 480.0
_GRACE_S = 25.0
"""Seconds in which a section that takes too long ends by itself."""
Section = Callable[[Bench], None]
SECTIONS: dict[str, tuple[Section, float]] = {
    "machine": (training.machine, 60),
    "student": (training.student, 60),
    "methods": (training.methods, 130),
    "sharing": (sharing.sharing, 110),
    "fused": (fused.section, 60),
    "record or ask": (maps.record_or_ask, 40),
    "equality with the CPU": (numerics.equality, 60),
    "precision": (numerics.precision, 50),
    "synchronizations": (counts.synchronizations, 50),
    "compiled losses and CUDA graphs": (numerics.switches, 90),
    "sweep": (sweep.sweep, 90),
}
"""What is measured, in this order, and the seconds that it may take; the first ones matter most."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="the folder of the results")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--methods", nargs="+", default=list(Bench.methods))
    parser.add_argument("--networks", choices=list(NETWORKS), help="smp where it is installed, else torchvision")
    parser.add_argument("--batch", type=int, default=Bench.batch)
    parser.add_argument("--image", nargs=2, type=int, default=list(Bench.image), metavar=("H", "W"))
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds in all; each section may take its part")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to try the script")
    for hidden in ("--folder", "--section", "--child"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder:
        bench = Bench.read(Path(options.folder))
        torch.set_num_threads(bench.threads)
        if options.child:
            sharing.child(bench, options.child)
        else:
            SECTIONS[options.section][0](replace(bench, section=options.section))
        return
    begin = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kdsweep-gpu-") as scratch:
        bench = replace(_bench(options, Path(scratch)), out=options.out.resolve())
        (options.out / ROWS).unlink(missing_ok=True)
        bench.write()
        for name in options.sections:
            own = SECTIONS[name][1] * options.limit / LIMIT_S
            _run(bench, name, min(own, options.limit - (time.monotonic() - begin)))
            publish(bench.rows(), options.out)
    stop_abandoned()  # an MPS daemon, should a section have been killed
    print(f"{time.monotonic() - begin:.0f} s; {options.out / 'gpu.md'}")


def _bench(options: argparse.Namespace, scratch: Path) -> Bench:
    has_smp = importlib.util.find_spec("segmentation_models_pytorch") is not None
    networks = options.networks or ("smp" if has_smp else "torchvision")
    if options.toy:
        sizes = {"image": (32, 48), "batch": 4, "steps": 2, "epochs": 2, "window_s": 0.05, "students": (1, 2)}
        return Bench(scratch, options.device, "tiny", methods=tuple(options.methods), threads=1, **sizes)
    image = (options.image[0], options.image[1])
    threads = min(8, os.cpu_count() or 1)
    return Bench(
        scratch, options.device, networks, image, options.batch, methods=tuple(options.methods), threads=threads
    )


def _run(bench: Bench, name: str, limit_s: float) -> None:
    """Run a section in a process of its own, for so long; say why it gave less than it could."""
    bench = replace(bench, section=name)
    if limit_s <= 0:
        bench.row("the section", "s", None, "no time was left for it")
        return
    begin = time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), "--folder", str(bench.folder), "--section", name]
    log = bench.folder / "section.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stderr=errors,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
    note = ""
    if code is None:
        note = f"stopped at its limit of {limit_s:.0f} s"
    elif code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        note = f"failed: {lines[-1][:300] if lines else f'exit status {code}'}"
        print("\n".join(lines[-25:]), file=sys.stderr)
    bench.row("the section", "s", time.monotonic() - begin, note)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a section and what it has started: first by a request, then by force."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        for started in [*_descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(started, signal.SIGKILL)
        process.wait()


def _descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that these have started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [process]
    for each in found:
        found += children.get(each, [])
    return found[1:]


def publish(rows: Iterable[Row], folder: Path) -> None:
    """Write all figures as a page and, where pyarrow is installed, as Parquet."""
    rows = list(rows)
    (folder / "gpu.md").write_text(markdown(rows))
    if importlib.util.find_spec("pyarrow") is not None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"section": pa.string(), "case": pa.string(), "metric": pa.string(), "value": pa.float64()}
        schema = pa.schema([*types.items(), ("note", pa.string())])
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema), folder / "gpu.parquet")


def markdown(rows: Iterable[Row]) -> str:
    """A table for every section: a line for every case, a column for every metric."""
    by_section: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        by_section.setdefault(row.section, {}).setdefault(row.case, {})[row.metric] = row
    parts = []
    for section, cases in by_section.items():
        metrics = list(dict.fromkeys(metric for figures in cases.values() for metric in figures))
        lines = [f"## {section}", "", f"| | {' | '.join(metrics)} | |", f"|---|{'---|' * (len(metrics) + 1)}"]
        for case, figures in cases.items():
            values = (_value(figures[metric].value) if metric in figures else "" for metric in metrics)
            notes = dict.fromkeys(row.note for row in figures.values() if row.note)
            lines.append(f"| {case} | {' | '.join(values)} | {'; '.join(notes).replace('|', '/')} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    main()
