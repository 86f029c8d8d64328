"""Packages that only some features need, and the extra of kdsweep that installs them."""

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from analysis.errors import AnalysisError

EXTRAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "report": {
            "jinja2": "jinja2",
            "matplotlib": "matplotlib",
            "scikit-learn": "sklearn",
        },
        "query": {"duckdb": "duckdb"},
        "cmaes": {"cmaes": "cmaes"},
        "coco": {"pycocotools": "pycocotools"},
        "export": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
        "executorch": {"executorch": "executorch"},
        "hf": {"transformers": "transformers"},
        "mlflow": {"mlflow-skinny": "mlflow"},
        "tensorboard": {"tensorboard": "tensorboard", "tensorboardX": "tensorboardX"},
        "trackio": {"trackio": "trackio"},
        "wandb": {"wandb": "wandb"},
    }
)
"""By extra, the packages whose absence is an error, and the module that each package installs."""


class MissingExtraError(AnalysisError):
    """A feature needs packages that are not installed; the message names them and the command that installs them."""


def require(extra: str, use: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: One of `EXTRAS`.
        use: The feature that needs the extra, as the subject of a sentence: "the report".

    Raises:
        MissingExtraError: If a package is not installed.
    """
    packages = [package for package, module in EXTRAS[extra].items() if find_spec(module) is None]
    if packages:
        one = len(packages) == 1
        raise MissingExtraError(
            f"{use} needs the package{'' if one else 's'} {', '.join(packages)}, which {'is' if one else 'are'} "
            f"not installed: pip install 'kdsweep[{extra}]'"
        )
