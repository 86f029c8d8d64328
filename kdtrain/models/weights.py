"""Starting weights from safetensors files."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdtrain.errors import InputError, MissingError

_PREFIXES = ("", "encoder.", "encoder.model.")
"""Where a file's tensors may belong: a whole network, its encoder, or the timm model inside the encoder."""


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
        InputError: If there is no such file or it cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"weights: there is no file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"weights: {path} does not read as safetensors ({error}); make or fetch it again") from error


def load_into(net: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load weights into a network or its encoder; with a file of encoder weights, the rest stays as built.

    Raises:
        InputError: If the file covers neither the whole network nor the whole encoder, or a shape differs.
    """
    weights, misfit = net.state_dict(), f"weights: {source} does not fit {type(net).__name__}"
    prefix = max(_PREFIXES, key=lambda p: sum(p + name in weights for name in tensors))
    fitting = {prefix + name: tensor for name, tensor in tensors.items() if prefix + name in weights}
    part = prefix or ("encoder." if fitting and all(name.startswith("encoder.") for name in fitting) else "")
    required = [name for name in weights if name.startswith(part) and not name.endswith("num_batches_tracked")]
    missing = [name for name in required if name not in fitting]
    if missing or not fitting:
        raise InputError(
            f"{misfit}: {len(missing)} of {len(required)} tensors are missing "
            f"(first {missing[0] if missing else 'none found'})"
        )
    for name, tensor in fitting.items():
        if tensor.shape != weights[name].shape:
            raise InputError(
                f"{misfit}: {name} is {tuple(tensor.shape)} in the file and {tuple(weights[name].shape)} in the network"
            )
    net.load_state_dict(fitting, strict=False)
