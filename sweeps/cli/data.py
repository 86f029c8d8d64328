"""The commands `kdsweep data ...`: fetch a public data set, check all of its images."""

from typing import Annotated

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import Data, Set, SpecFile, Trust, console, machine_of, read_spec
from sweeps.show.commands import next_command


def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="camvid, voc, or hf:owner/name for one on the hub of Hugging Face.")
    ],
    data: Data = None,
    source: Annotated[
        str | None, typer.Option(metavar="URL", help="Another URL of the archive; file:// for a local file.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="The checksum that the archive must have.")] = None,
) -> None:
    """Fetch a data set from where it is published; the same command resumes a broken download.

    Example: [bold]kdsweep data get camvid --data data[/]
    """
    from kdtrain.data.fetch import SOURCES, fetch
    from kdtrain.data.hub import fetch_from_hub
    from kdtrain.data.shards.shard_files import HUB
    from kdtrain.explain import did_you_mean
    from sweeps.show.counter import counter

    if name.startswith(HUB):
        if source is not None or sha256 is not None:
            raise InputError("--source and --sha256: are for archives, leave them out for a data set of the hub")
        place = fetch_from_hub(name, machine_of(data, None).data_root, console.print)
        console.print(f"{name}: {place}; next, look at it:")
        console.print(f"  {next_command('init', data=place)}")
        return
    if name not in SOURCES:
        raise InputError(f"unknown data set to fetch, {name!r}{did_you_mean(name, SOURCES)}")
    checksum = f"sha256:{sha256}" if sha256 is not None else None
    with counter(console, f"fetching {name}", in_bytes=True) as update:
        folder = fetch(SOURCES[name], machine_of(data, None).data_root, source, checksum, update, console.print)
    console.print(f"{name}: {folder}")


def check(
    spec_file: SpecFile,
    data: Data = None,
    changes: Set = None,
    trust: Trust = False,
) -> None:
    """Read every image of a sweep's data: counts, sizes, classes and all bad files; exit code 2 if any are bad.

    Example: [bold]kdsweep data check sweeps/specs/camvid.yaml --data data[/]
    """
    spec = read_spec(spec_file, changes, "reading all images")
    from sweeps.cli.data_check import check_data

    check_data(spec, machine_of(data, None).data_root)
