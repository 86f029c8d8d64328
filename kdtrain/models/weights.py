"""Starting weights from safetensors files."""

import string
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdtrain.errors import InputError, MissingError

_TEXT = frozenset(string.printable.encode())

PREFIXES = ("", "encoder.", "encoder.model.")
"""Where a file's tensors may belong: a whole network, its encoder, or the timm model inside the encoder."""
COUNTER = "num_batches_tracked"
"""What BatchNorm counts, and nothing reads."""
_ALL_STAGES = 5


def published_file(encoder: str, folder: Path | None) -> Path | None:
    """The file that replaces the library's weights of an encoder, if the folder holds one.

    Raises:
        MissingError: If there is no such folder.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise MissingError(f"--weights: there is no folder {folder}; give the folder of <encoder>.safetensors files")
    for name in (encoder, encoder.removeprefix("tu-")):
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    return None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: If there is no such file, it cannot be read, or a number in it is not finite.
    """
    if not path.is_file():
        raise MissingError(f"weights: there is no file {path}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        why = text_in(path) or error
        raise InputError(f"weights: {path} does not read as safetensors ({why}); make or fetch it again") from error
    check_finite(tensors, path)
    return tensors


def text_in(path: Path) -> str:
    """What a file says that is a text where weights belong, as a failed download leaves it; empty for other files."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS: `git lfs pull` fetches the file"
    if start.strip() and all(byte in _TEXT for byte in start):
        return f"it is a text that begins with {start.decode().strip().splitlines()[0]!r}"
    return ""


def check_finite(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse weights with NaN or infinity, running means of BatchNorm included.

    Raises:
        InputError: The first such tensor, and how many there are.
    """
    bad = broken_tensors(tensors)
    if bad:
        kind = "NaN" if bool(tensors[bad[0]].isnan().any()) else "infinity"
        more = f", and {len(bad) - 1} further tensors are not finite" if len(bad) > 1 else ""
        raise InputError(
            f"weights: {source} holds {kind} in {bad[0]}{more}; all weights must be finite: take an earlier state of "
            "that training"
        )


def broken_tensors(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that are not finite."""
    return [
        name for name, tensor in tensors.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]


def load_into(net: nn.Module, tensors: Mapping[str, Tensor], source: Path, whole: bool = False) -> None:
    """Load weights into a network or its encoder; with a file of encoder weights, the rest stays as built.

    Every tensor of the file must have its place, and every tensor of the network or encoder its value. Counters of
    BatchNorm may be missing. Beside an encoder, a file may have what a published classifier has in addition.

    Args:
        net: The network.
        tensors: By name.
        source: The file, for messages.
        whole: Whether the file must cover the whole network.

    Raises:
        MisfitError: If a tensor is missing, is not of the network, or has another shape or type.
    """
    weights = net.state_dict()
    prefix = "" if whole else max(PREFIXES, key=lambda p: sum(p + name in weights for name in tensors))
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    fitting = {name: tensor for name, tensor in named.items() if name in weights}
    of_encoder = not whole and fitting and all(name.startswith("encoder.") for name in fitting)
    part = prefix or ("encoder." if of_encoder else "")
    misfit = f"weights: {source} does not fit {type(net).__name__}"
    required = [name for name in weights if name.startswith(part) and not name.endswith(COUNTER)]
    missing = [name for name in required if name not in fitting]
    if missing or not fitting:
        raise MisfitError(
            f"{misfit}: {len(missing)} of {len(required)} tensors are missing "
            f"(first {missing[0] if missing else 'none found'})"
        )
    for name, tensor in fitting.items():
        if tensor.shape != weights[name].shape:
            raise MisfitError(
                f"{misfit}: {name} is {tuple(tensor.shape)} in the file and {tuple(weights[name].shape)} in the network"
            )
        if tensor.is_floating_point() != weights[name].is_floating_point() and not name.endswith(COUNTER):
            raise MisfitError(
                f"{misfit}: {name} holds {_type_of(tensor)} in the file and {_type_of(weights[name])} in the network"
            )
    allowed = _beside(net, part) if part else _never
    unexpected = [name for name in named if name not in weights and not name.endswith(COUNTER) and not allowed(name)]
    if unexpected:
        raise MisfitError(
            f"{misfit}: {len(unexpected)} tensors of the file are not of the network "
            f"(first {', '.join(unexpected[:3])}), so that it holds another, deeper network or further parts"
        )
    net.load_state_dict(fitting, strict=False)


class MisfitError(InputError):
    """Weights of another network than the one that they should be loaded into."""


def _beside(net: nn.Module, part: str) -> Callable[[str], bool]:
    """Whether a tensor may come with those of an encoder: it is of a part that the encoder does not have at all.

    An encoder of which only the first stages are built may leave out the others.
    """
    encoder = net.get_submodule(part.removesuffix("."))
    parts = {name.partition(".")[0] for name in encoder.state_dict()}
    depth = getattr(net.get_submodule("encoder"), "_depth", _ALL_STAGES)
    return lambda name: depth < _ALL_STAGES or name.removeprefix(part).partition(".")[0] not in parts


def _never(_: str) -> bool:
    return False


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
