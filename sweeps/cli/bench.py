"""The command `kdsweep bench`."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from analysis.extras import require
from kdtrain.errors import InputError
from sweeps.cli.options import Trust, console, from_options, path
from sweeps.cli.output import Force, check_absent, write_output

if TYPE_CHECKING:
    from kdtrain.deploy.speed import Speed


def bench(
    student: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDENT]", help="The folder of a student, or of its training.", parser=path),
    ] = None,
    size: Annotated[tuple[int, int] | None, typer.Option(metavar="H W", help="Height and width of the images.")] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="torch, compile or onnxruntime; may be given several times.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 1,
    batch: Annotated[int, typer.Option(help="Images of a call.")] = 1,
    device: Annotated[str, typer.Option(help="Of torch: cpu, cuda, cuda:1, mps.")] = "cpu",
    seconds: Annotated[float, typer.Option(help="Of measuring, for each runtime.")] = 3.0,
    device_report: Annotated[
        list[Path] | None,
        typer.Option(help="A report that device_report.py printed on another machine.", parser=path),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Write device_report.py to this file, to take to the device.", parser=path)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this Parquet file.", parser=path)] = None,
    force: Force = False,
    trust: Trust = False,
) -> None:
    """Measure latency, throughput and memory of a student.

    Example: [bold]kdsweep bench runs/student --size 360 480 --runtime torch --runtime onnxruntime[/]
    """
    from kdtrain.deploy import device_report as module
    from kdtrain.deploy.measure import measure
    from kdtrain.deploy.speed import Setting, read_report

    if out is not None:
        check_absent(out, force)
    if script is not None:
        write_output(script, Path(module.__file__).read_text(), force)
        console.print(f"{script}: copy it with an .onnx file to the device; it says there how it is called")
    speeds = [read_report(file) for file in device_report or ()]
    if student is not None:
        if size is None:
            raise InputError("--size: give height and width of the images, as in --size 360 480")
        common = {"height": size[0], "width": size[1], "threads": threads, "batch": batch, "device": device}
        names = runtime or ["torch"]
        settings = [from_options(Setting, {**common, "runtime": name, "seconds": seconds}) for name in names]
        if any(setting.runtime == "onnxruntime" for setting in settings):
            require("export", "bench in onnxruntime")
        for setting in settings:
            console.print(f"measuring {setting.runtime} for {setting.seconds:g} s")
            speeds.append(measure(student, setting))
    elif script is None and not speeds:
        raise InputError("give a STUDENT to measure, a --device-report to read, or a --script to write")
    if speeds:
        console.print(_table(speeds))
    if speeds and out is not None:
        _write(speeds, out)


def _table(speeds: "list[Speed]") -> Table:
    table = Table("runtime", box=None, pad_edge=False)
    for title in ("threads", "batch", "images", "ms", "10 to 90 %", "images/s", "MiB"):
        table.add_column(title, justify="right")
    for device, on_it in groupby(speeds, lambda speed: speed.device):
        table.add_row(f"on {device}")
        for each in on_it:
            table.add_row(
                f"{each.runtime} {each.version.partition('+')[0]}",
                str(each.threads),
                str(each.batch),
                f"{each.height} x {each.width}",
                f"{each.median_ms:.3g}",
                f"{each.low_ms:.3g} to {each.high_ms:.3g}",
                f"{each.images_per_s:.4g}",
                "" if each.peak_mib is None else f"{each.peak_mib:.0f}",
            )
    return table


def _write(speeds: "list[Speed]", out: Path) -> None:
    import pandas as pd

    from kdtrain.errors import refused

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([each.model_dump() for each in speeds]).to_parquet(out)
    except OSError as error:
        raise refused(out, error) from error
    console.print(str(out))
