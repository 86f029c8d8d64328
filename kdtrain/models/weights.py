"""Starting weights from safetensors files."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdtrain.errors import InputError

_PREFIXES = ("", "encoder.", "encoder.model.")
"""Where a file's tensors may belong: a whole network, its encoder, or the timm model inside the encoder."""


def published_file(encoder: str, folder: Path | None) -> Path | None:
    """The file that stands in for the library's weights of an encoder, if the machine's folder holds one."""
    if folder is None:
        return None
    for name in (encoder, encoder.removeprefix("tu-")):
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    return None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: If there is no such file or it does not read.
    """
    if not path.is_file():
        raise InputError(f"weights: there is no file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"weights: {path} does not read as safetensors ({error}); make or fetch it again") from error


def load_into(net: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load weights into a network or its encoder; with a file of encoder weights, the rest stays as built.

    Raises:
        InputError: If the file covers neither the whole network nor the whole encoder, or a shape differs.
    """
    own, fits_not = net.state_dict(), f"weights: {source} does not fit {type(net).__name__}"
    prefix = max(_PREFIXES, key=lambda p: sum(p + name in own for name in tensors))
    found = {prefix + name: tensor for name, tensor in tensors.items() if prefix + name in own}
    part = prefix or ("encoder." if found and all(name.startswith("encoder.") for name in found) else "")
    wanted = [name for name in own if name.startswith(part) and not name.endswith("num_batches_tracked")]
    missing = [name for name in wanted if name not in found]
    if missing or not found:
        raise InputError(
            f"{fits_not}: {len(missing)} of {len(wanted)} tensors are missing "
            f"(first {missing[0] if missing else 'none found'})"
        )
    for name, tensor in found.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{fits_not}: {name} is {tuple(tensor.shape)} in the file and {tuple(own[name].shape)} in the network"
            )
    net.load_state_dict(found, strict=False)
