"""Roles share no image: they are compared as sets of files, whatever the names and links that lead to a file."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from kdtrain.data.source import DataSource
from kdtrain.data.stored import Stored, identity_of
from kdtrain.errors import InputError


@runtime_checkable
class HasFiles(Protocol):
    """A data source whose images are files."""

    def image_files(self, role: str) -> Mapping[str, Stored]:
        """The image files of a role by id."""
        ...

    def notes(self, role: str) -> tuple[str, ...]:
        """What was passed over where the files were looked for, in sentences."""
        ...


def check_roles_apart(roles: Mapping[str, Mapping[str, Stored]]) -> None:
    """Refuse an image that is in two roles.

    Args:
        roles: Image files by role and id. Within a role, a file may come more than once.

    Raises:
        InputError: If a file is in two roles, or cannot be read.
    """
    owners: dict[object, tuple[str, Stored]] = {}
    for role, images in roles.items():
        shared: list[tuple[str, Stored, Stored]] = []
        for file in images.values():
            owner, other = owners.setdefault(identity_of(file), (role, file))
            if owner != role:
                shared.append((owner, other, file))
        if shared:
            owner, other, file = shared[0]
            same = f"{file}" if file == other else f"{other} and {file} are one file"
            raise InputError(
                f"{len(shared)} images are in role {owner} and in role {role}, first {same}; give each role images of "
                "its own"
            )


def check_unlabelled_apart(unlabelled: HasFiles, name: str, labelled: DataSource) -> None:
    """Refuse images without labels that are among the labelled images of any role.

    Raises:
        InputError: As `check_roles_apart`.
    """
    if not isinstance(labelled, HasFiles):
        return
    roles: dict[str, Mapping[str, Stored]] = {}
    for role in ("train", "select", "test"):
        try:
            roles[role] = labelled.image_files(role)
        except InputError:
            if role != "test":
                raise
    check_roles_apart({**roles, f"unlabelled {name}": unlabelled.image_files("unlabelled")})
