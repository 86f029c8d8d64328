"""Weights from files of `torch.save`: read without running their code, found in what surrounds them, and renamed."""

import pickle
import shlex
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kdtrain.errors import InputError, MissingError
from kdtrain.explain import first_line
from kdtrain.models.weights import text_in

_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""Of an archive of `torch.save`, and of its older files, which are a pickle."""
_HOLDERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "student", "params"),
    *("weights", "ema", "ema_state_dict", "state_dict_ema", "model_ema", "generator", "teacher"),
)
"""Keys under which training scripts put the weights, the likeliest first."""
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "student.")
"""What wrappers of a network put before the names of its tensors."""


class Found(NamedTuple):
    """Weights, and in words what was done to get them."""

    tensors: dict[str, Tensor]
    steps: tuple[str, ...]


def is_torch_file(path: Path) -> bool:
    """Whether a file is one of `torch.save`, by its name, or by how it begins."""
    if path.suffix in _SUFFIXES:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(9)
    is_safetensors = start[8:] == b"{"  # the length of a header in eight bytes, which may begin as a pickle does
    return start.startswith(_BEGINNINGS) and not is_safetensors


def read_torch(path: Path) -> Found:
    """The weights in a file of `torch.save`, also inside of a checkpoint of a training.

    Raises:
        InputError: If there is no such file, it needs pickle to be read, or it has no tensors.
    """
    if not path.is_file():
        raise MissingError(f"weights: there is no file {path}")
    try:
        with warnings.catch_warnings(), path.open("rb") as file:  # torch reads .safetensors by the name alone
            warnings.simplefilter("ignore")  # of TorchScript, which is refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in every way
        raise InputError(_refusal(path, error)) from error
    return find_weights(content, path)


def find_weights(content: object, source: Path) -> Found:
    """The mapping from names to tensors in the content of a checkpoint.

    Raises:
        InputError: If there is none.
    """
    steps: list[str] = []
    while (holders := _holders(content)) or not _is_weights(content):
        if not isinstance(content, Mapping) or not holders:
            raise InputError(f"weights: {source} must hold a mapping from names to tensors, got {_keys_of(content)}")
        others = f" (not those under {', '.join(holders[1:])})" if len(holders) > 1 else ""
        steps.append(f"took the tensors under {holders[0]!r}{others}")
        content = content[holders[0]]
    assert isinstance(content, Mapping)
    return Found({str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}, tuple(steps))


def without_wrappers(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> Found:
    """The tensors under the names that a network has, which wrappers such as DataParallel and compile have changed.

    Args:
        tensors: By name.
        wanted: The names of the network's tensors.
    """
    names, steps = set(wanted), []
    renamed = dict(tensors)
    if any("_orig_mod." in name for name in renamed) and not any("_orig_mod." in name for name in names):
        renamed = {name.replace("_orig_mod.", ""): tensor for name, tensor in renamed.items()}
        steps.append("removed '_orig_mod.' from the names")
    best, stripped, candidate = renamed, "", renamed
    prefix = ""
    while (wrapper := _wrapper_of(candidate)) is not None:
        candidate = {
            name.removeprefix(wrapper): tensor for name, tensor in candidate.items() if name.startswith(wrapper)
        }
        prefix += wrapper
        if len(names & set(candidate)) > len(names & set(best)):
            best, stripped = candidate, prefix
    if stripped:
        rest = {name: tensor for name, tensor in renamed.items() if not name.startswith(stripped)}
        best = {**best, **rest}  # which no network has, and which is said when the weights are loaded
        steps.append(f"removed the prefix {stripped!r} from the names")
    return Found(best, tuple(steps))


def _wrapper_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The prefix of a wrapper that most of the names have."""
    counts = {wrapper: sum(name.startswith(wrapper) for name in tensors) for wrapper in _WRAPPERS}
    wrapper = max(counts, key=lambda each: counts[each])
    return wrapper if 2 * counts[wrapper] > len(tensors) else None


def _is_weights(content: object) -> bool:
    """Whether a value is a mapping that has tensors itself, and not only further mappings."""
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) and value.ndim for value in content.values())


def _keys_of(content: object) -> str:
    """What a file has instead of weights, in words."""
    if not isinstance(content, Mapping):
        return f"an object of {type(content).__name__}"
    return f"the keys {', '.join(map(str, list(content)[:8]))}" if content else "an empty mapping"


def _holders(content: object) -> list[str]:
    """Keys of mappings in which weights are found, the likeliest first."""
    if not isinstance(content, Mapping):
        return []
    known = [key for key in _HOLDERS if key in content]
    return [key for key in known if _is_weights(content[key]) or _holders(content[key])]


_CONVERT = (
    "import sys, torch; from safetensors.torch import save_file; "
    "c = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "c = c.state_dict() if hasattr(c, 'state_dict') else c; "
    "c = next((c[k] for k in ('state_dict', 'model_state_dict', 'model', 'net', 'ema') if k in c), c); "
    "c = c.state_dict() if hasattr(c, 'state_dict') else c; "
    "save_file({k: v.detach().clone().contiguous() for k, v in c.items() if torch.is_tensor(v)}, sys.argv[2])"
)
_CONVERT_SCRIPT = _CONVERT.replace(
    "torch.load(sys.argv[1], map_location='cpu', weights_only=False)", "torch.jit.load(sys.argv[1], map_location='cpu')"
)


def _refusal(path: Path, error: Exception) -> str:
    is_script, text = "TorchScript" in str(error), text_in(path)
    if text or (not is_script and not isinstance(error, pickle.UnpicklingError)):
        why = text or first_line(error)
        return f"weights: {path} does not read as a file of torch.save ({why}); make or fetch it again"
    what = "is a TorchScript archive" if is_script else "holds more than tensors, which only pickle reads"
    target = path.with_suffix(".safetensors")
    command = shlex.join(["python", "-c", _CONVERT_SCRIPT if is_script else _CONVERT, str(path), str(target)])
    return (
        f"weights: {path} {what}, and that can run code from the file; if you trust who made it, convert it and import "
        f"{target}: {command}"
    )
