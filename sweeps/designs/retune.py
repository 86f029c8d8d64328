"""What is searched again in every cell: a change of the losses changes the best learning rate, too."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdtrain.errors import InputError
from kdtrain.space import Choice
from sweeps.designs.arms import Arm, Request, short, text

NOTHING = "nothing: learning rate and weights as in the reference, which favors the reference"
"""A text in the cells of specs: it stays as it is, so that a spec that is written again equals the one that was run."""
_STEP = 2.0
"""Factor between neighboring values where only their number is given."""


def retuning(request: Request, values_by_path: Mapping[str, Sequence[Any]]) -> dict[str, Choice]:
    """The values searched again, by dotted path.

    Args:
        request: The config.
        values_by_path: Values by path; a single whole number is how many values to take, a factor of 2 apart,
            around that of the config.

    Raises:
        InputError: If there is no such field, or it cannot be searched like that.
    """
    paths = Request(request.config, values=dict.fromkeys(values_by_path, ())).paths()
    space = {}
    for path, values in zip(paths, values_by_path.values(), strict=True):
        value = request.value(path)
        if len(values) == 1:
            count = values[0]
            numeric = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            if not (isinstance(count, int) and not isinstance(count, bool) and count >= 2 and numeric):
                raise InputError(
                    f"--retune: {short(path)} needs a number of values of 2 or more, or the values themselves, as in "
                    f"--retune optimizer.lr=3 or --retune optimizer.lr=0.01,0.02,0.04, got {text(count)}"
                )
            kind = type(value)
            values = [kind(float(f"{value * _STEP ** (i - (count - 1) / 2):.4g}")) for i in range(count)]
        space[path] = Choice(choices=tuple(dict.fromkeys(values)))
    return space


def space_of(arm: Arm, retuned: Mapping[str, Choice]) -> dict[str, Choice]:
    """The space of an arm: without options of terms that the arm lacks, and without what the arm sets."""
    names = {term.name for term in arm.terms}
    return {
        path: domain
        for path, domain in retuned.items()
        if path not in arm.changes and (not path.startswith("terms.") or path.split(".")[1] in names)
    }


def in_words(space: Mapping[str, Choice]) -> str:
    """What is searched again, for the reader of a table."""
    if not space:
        return NOTHING
    parts = [f"{short(path)} over {', '.join(map(text, domain.choices))}" for path, domain in space.items()]
    return f"{' and '.join(parts)}, on one seed; all else as in the reference"
