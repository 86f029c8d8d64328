"""The command `kdsweep ablate`: write the spec of an ablation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import Trust, console, folder_or_uri, number, path
from sweeps.cli.output import Force, write_output
from sweeps.show.commands import next_command
from sweeps.spec.strict_yaml import parse_value

_DESIGNS = ("leave-one-out", "add-one-in", "one-factor", "factorial", "fractional", "layer-grid", "response")


def ablate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SPEC-or-D", help="A sweep, whose best config is ablated, or a spec.", parser=folder_or_uri
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The spec to write; by default named after the sweep and the design, in this folder.", parser=path
        ),
    ] = None,
    design: Annotated[
        str,
        typer.Option(help=f"{', '.join(_DESIGNS)}, or several with commas between them."),
    ] = "leave-one-out",
    study: Annotated[
        str | None,
        typer.Option(
            help="The study to ablate; by default the best study with a teacher, or the last study of a spec."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds per cell.", callback=number(1, 1000))] = 3,
    factors: Annotated[
        str | None, typer.Option(metavar="A,B", help="The terms to ablate; by default all except cross-entropy.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=V,W", help="Values to try, as in channel_wise.temperature=1,2,4; may be repeated."),
    ] = None,
    retune: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=N", help="Search N values, or the given values, again in each cell."),
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Any of none, none_equal_time, placebo, smoothed; by default the first three; '' for no controls.",
        ),
    ] = None,
    time_ratio: Annotated[
        float | None,
        typer.Option(
            help="How much longer the reference trains; by default as measured in the sweep.",
            callback=number(0, 1000),
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="The resolution of the design fractional.", callback=number(4, 5))
    ] = None,
    force: Force = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write the spec even if it has more than 200 runs.")] = False,
    trust: Trust = False,
) -> None:
    """Write the spec of an ablation around a config, and print what it will cost and which effects it could find.

    Example: [bold]kdsweep ablate runs/camvid --design leave-one-out --out ablation.yaml[/]
    """
    from sweeps.designs import Options, TimeRatio, ablation
    from sweeps.designs.controls import DEFAULT
    from sweeps.designs.forecast import MOST_RUNS, forecast
    from sweeps.designs.origin import originate

    origin = originate(source, study)
    ratio = origin.measured.ratio if time_ratio is None else TimeRatio(time_ratio, "as given")
    options = Options(
        factors=tuple(_listed(factors)),
        values=_fields("--values", values),
        retune=_fields("--retune", retune),
        controls=DEFAULT if controls is None else tuple(_listed(controls)),
        time_ratio=ratio,
        resolution=resolution,
    )
    spec = ablation(design, origin.config, origin.spec, seeds, options)
    expected = forecast(spec, origin.measured)
    console.print("\n".join(expected.lines()))
    if expected.runs > MOST_RUNS and not yes:
        raise InputError(
            f"design {design}: {expected.runs} runs are more than {MOST_RUNS}; give fewer factors, values or seeds, "
            "or give --yes"
        )
    out = out or Path(f"{spec.name}.yaml")
    write_output(out, spec.dump(), force)
    command = next_command("run", out, dir=f"runs/{out.stem}", **origin.options)
    console.print(f"{out}: {len(spec.studies)} cells, {seeds} seeds each; run it with: {command}")


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _fields(option: str, given: list[str] | None) -> dict[str, tuple[Any, ...]]:
    from sweeps.spec.overrides import check_apart

    result: dict[str, tuple[Any, ...]] = {}
    for text in given or []:
        field, equals, values = text.partition("=")
        if not equals or not field or not values.strip():
            raise InputError(f"{option}: must be FIELD=VALUE,VALUE, as in {option} optimizer.lr=3, got {text!r}")
        check_apart([*result, field], option)
        result[field] = tuple(parse_value(f"[{values}]", f"{option} {field}"))
    return result
