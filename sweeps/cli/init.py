"""The command `kdsweep init`."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kdtrain.errors import InputError, MissingError
from sweeps.cli.options import check_number, console, machine_of, number, path
from sweeps.show.commands import next_command

_HUB = ("huggingface.co", 443)
"""Where the weights of encoders come from."""
_HOURS = (1e-3, 1e4)
"""The fewest and the most that a sweep may take."""
_STUDENT = "DeepLabV3Plus/tu-mobilenetv3_small_100"


def init(
    spec_file: Annotated[
        Path, typer.Argument(metavar="SPEC", help="The YAML file to write; it must not exist.", parser=path)
    ] = Path("sweep.yaml"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="The folder of your images and label maps, or of a public data set; hf:owner/name fetches one.",
            parser=path,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes with commas between them, in the order of their ids or colors; - for an id or a "
            "color that is not scored."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE,LABEL",
            help="The columns of images and label maps in Parquet and Arrow files, or what members of tar archives end "
            "with; by default those whose names say it.",
        ),
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="A teacher folder, or fit: the sweep fits one first.")] = None,
    student: Annotated[
        str | None, typer.Option(metavar="ARCH/ENCODER", help=f"The network to train, such as {_STUDENT}.")
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="Whether encoders start from ImageNet weights; by default where this machine can fetch them.",
        ),
    ] = None,
    studies: Annotated[
        str | None,
        typer.Option(help="Methods with commas between them, the baseline none first."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Hours that the sweep may take.", callback=number(*_HOURS))
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="GPUs to run on; by default those of this machine.", callback=number(0, 1024)),
    ] = None,
) -> None:
    """Look at your data and write the spec of a first sweep, with comments; asks for what no option gives.

    Example: [bold]kdsweep init mine.yaml --data data/mine --teacher fit --hours 8[/]
    """
    if spec_file.exists() or spec_file.is_symlink():
        raise InputError(f"{spec_file} exists and is not replaced; give the name of a new file")
    if not spec_file.absolute().parent.is_dir():
        raise MissingError(f"{spec_file}: there is no folder {spec_file.absolute().parent}; make it first")
    folder = path(_answer("--data", data, "Folder of your images and label maps"))

    from analysis.formats import short_duration
    from kdtrain.data.hub import fetch_from_hub
    from kdtrain.data.recognize import data_folder, recognize
    from kdtrain.data.shards.shard_files import HUB
    from sweeps.designs.first_sweep import STUDIES, Answers, effort, spec_text
    from sweeps.show.counter import counter
    from sweeps.spec.spec import parse_spec
    from sweeps.spec.strict_yaml import parse_yaml

    if not str(folder).startswith(HUB):
        data_folder(folder)
    network = _answer("--student", student, "Student, as ARCH/ENCODER", _STUDENT)
    arch, encoder = _student(network)
    teacher_folder = _teacher(_answer("--teacher", teacher, "Teacher: a teacher folder, or fit", "fit"))
    named = STUDIES if studies is None else _studies(studies)
    hours = float(_answer("--hours", hours, "Hours that the sweep may take", 8.0))
    check_number("--hours", hours, *_HOURS)  # also where it was typed
    if str(folder).startswith(HUB):
        folder = fetch_from_hub(str(folder), machine_of(None, None).data_root, console.print)
    names = tuple(name.strip() for name in (classes or "").split(",") if name.strip())
    with counter(console, "reading label maps") as seen:
        found = recognize(folder, names, seen, _columns(columns))
    for line in found.lines:
        console.print(line)
    answers = Answers(
        name=_sweep_name(spec_file),
        data=found.content,
        images=found.images,
        smallest=found.smallest,
        one_size=found.one_size,
        teacher=teacher_folder,
        arch=arch,
        encoder=encoder,
        pretrained=_weights_are_there() if pretrained is None else pretrained,
        studies=named,
        hours=hours,
        gpus=_gpus() if gpus is None else gpus,
        cores=os.cpu_count() or 1,
    )
    text = spec_text(answers)
    try:
        parse_spec(parse_yaml(text, str(spec_file)))
    except InputError as error:
        raise InputError(f"--{error}" if str(error).startswith("studies") else str(error)) from None
    with spec_file.open("x", encoding="utf-8") as file:
        file.write(text)
    spent = effort(answers)
    per_study = f"{spent.budget} epochs of search for each of {len(answers.studies)} studies"
    console.print(
        f"assumed: an epoch of one training takes {short_duration(spent.seconds)}; so {answers.hours:g} h hold "
        f"{per_study}, in trainings of {spent.epochs} epochs"
    )
    console.print(f"wrote {spec_file}; next, check it and measure what it costs:")
    console.print(f"  {next_command('plan', spec_file, data=found.root)}")


def _columns(given: str | None) -> tuple[str, str] | None:
    """The columns of images and of label maps."""
    if given is None:
        return None
    image, comma, label = (part.strip() for part in given.partition(","))
    if not (image and comma and label) or "," in label:
        raise InputError(f"--columns: must name two with a comma between them, as in image,annotation, got {given}")
    return image, label


def _student(given: str) -> tuple[str, str]:
    """Architecture and encoder of the library."""
    arch, _, encoder = given.partition("/")
    if not arch or not encoder:
        raise InputError(f"--student: must be ARCH/ENCODER, such as {_STUDENT}, got {given}")
    console.print(f"looking for {arch} and {encoder} in segmentation-models-pytorch and timm")
    from kdtrain.models.library import find_architecture  # takes seconds to import

    try:
        find_architecture(arch, encoder)
    except InputError as error:
        raise InputError(f"--student: {error}") from None
    return arch, encoder


def _studies(given: str) -> tuple[str, ...]:
    """Names of methods."""
    from kdtrain.methods import get_method

    names = tuple(name.strip() for name in given.split(","))
    for name in names:
        try:
            get_method(name)
        except InputError as error:
            raise InputError(f"--studies: {error}") from None
    return names


def _answer(option: str, given: Any, question: str, default: Any = None) -> Any:
    """The value of an option; where it was not given, what the user types, or the default where nobody can type."""
    if given is not None:
        return given
    if sys.stdin.isatty():
        return typer.prompt(question, default=default)
    if default is None:
        raise InputError(f"{option}: is required where no terminal can ask for it")
    return default


def _teacher(given: str) -> str | None:
    """The folder of the teacher as the spec names it; none to fit one."""
    if given == "fit":
        return None
    folder = path(given)
    if not (folder / "model.json").is_file():
        raise MissingError(f"--teacher: {folder} is not a teacher folder; give one that `kdsweep teacher` made, or fit")
    return given


def _sweep_name(file: Path) -> str:
    """A name of a sweep made from that of its file."""
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "-" for letter in file.stem)
    return name.strip("-") or "sweep"


def _gpus() -> int:
    """GPUs of this machine, without loading torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _weights_are_there() -> bool:
    """Whether a folder of weights is given, or the hub answers; it says so if neither is the case."""
    if os.environ.get("KDSWEEP_WEIGHTS"):
        return True
    try:
        socket.create_connection(_HUB, timeout=2).close()
    except OSError:
        console.print(
            f"{_HUB[0]} does not answer, so encoders start from random weights; --pretrained takes ImageNet weights "
            "all the same, from the hub or from the folder that KDSWEEP_WEIGHTS names"
        )
        return False
    return True
