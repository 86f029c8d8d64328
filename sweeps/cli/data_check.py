"""Reads every image of a sweep's data and prints what is there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from kdtrain.data import ROLES, DataSource, open_data
from kdtrain.data.apart import HasFiles
from kdtrain.data.carve import shared_groups
from kdtrain.data.census import check_presence
from kdtrain.data.check import RoleCheck, check_role, repeated_images
from kdtrain.errors import InputError
from sweeps.cli.options import console
from sweeps.show.counter import counter
from sweeps.spec.spec import SweepSpec

_BAD_SHOWN = 200


def check_data(spec: SweepSpec, root: Path) -> None:
    """Print counts, sizes, classes and bad files of all roles.

    Args:
        spec: The sweep.
        root: The folder that contains the data sets.

    Raises:
        InputError: If any image is bad.
    """
    checks = list(_role_checks(spec, root))
    for role_check in checks:
        console.print(_described(role_check))
    labelled = [role_check for role_check in checks if role_check.classes]
    console.print(_class_table(labelled))
    for role_check in labelled:
        if role_check.absent:
            console.print(f"role {role_check.role} has no pixel of {', '.join(role_check.absent)}")
    for sentence in [*repeated_images(checks), *shared_groups(open_data(spec.data, root))]:
        console.print(f"warning: {sentence}")
    bad = [(role_check.role, *each) for role_check in checks for each in role_check.bad]
    for role, image_id, reason in bad[:_BAD_SHOWN]:
        console.print(f"bad: {role} {image_id}: {reason}")
    if bad:
        more = f" ({len(bad) - _BAD_SHOWN} of them not shown)" if len(bad) > _BAD_SHOWN else ""
        raise InputError(f"{len(bad)} of {sum(role_check.images for role_check in checks)} images are bad{more}")
    for sentence in check_presence(spec.data, {role_check.role: role_check for role_check in labelled}):
        console.print(f"warning: {sentence}")
    console.print("all images can be read and all labels are of a class or ignored")


def _role_checks(spec: SweepSpec, root: Path) -> Iterator[RoleCheck]:
    source = open_data(spec.data, root)
    for role in ROLES:
        if role == "test":
            if not spec.data.has_test:
                continue
            try:
                source.ids(role)
            except InputError as error:
                console.print(f"test: not found, but needed once a selection is frozen: {error}")
                continue
        with counter(console, f"reading role {role}") as update:
            yield check_role(source, role, update)
        _print_notes(source, role)
    for further in spec.unlabelled:
        images = further.open(root, spec.data)
        with counter(console, f"reading {further.images}") as update:
            yield check_role(images, f"unlabelled {further.images}", update)
        _print_notes(images, "unlabelled")


def _print_notes(source: DataSource, role: str) -> None:
    """Print what was passed over where the files of a role were looked for."""
    for note in source.notes(role) if isinstance(source, HasFiles) else ():
        console.print(note)


def _described(check: RoleCheck) -> str:
    common = check.sizes.most_common(3)
    sizes = ", ".join(f"{count} of {width}x{height}" for (height, width), count in common)
    rest = len(check.sizes) - len(common)
    more = f" and {rest} further sizes" if rest else ""
    ignored = f", {check.ignored_share:.1%} of the pixels ignored" if check.classes and check.sizes else ""
    bad = f", {len(check.bad)} bad" if check.bad else ""
    return f"{check.role}: {check.images} images{bad}: {sizes or 'none can be read'}{more}{ignored}"


def _class_table(checks: Sequence[RoleCheck]) -> Table:
    """The percentage of the labelled pixels by class and role."""
    table = Table("class", *(f"{check.role} %" for check in checks), title="labelled pixels")
    for column in table.columns[1:]:
        column.justify = "right"
    for index, name in enumerate(checks[0].classes):
        shares = ("absent" if check.pixels[index] == 0 else f"{100 * check.shares[index]:.3f}" for check in checks)
        table.add_row(name, *shares)
    return table
