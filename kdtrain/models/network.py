"""The config of a network."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kdtrain.config_base import Strict, plain_values
from kdtrain.models.normalization import IMAGENET, Channels, Normalization, stated_normalization

ENSEMBLE, MAPPED, PROBED = "ensemble", "mapped", "probed"
TIMM, TORCHVISION, TRANSFORMERS = "timm", "torchvision", "transformers"
_NOT_OF_SMP = (ENSEMBLE, MAPPED, PROBED, TIMM, TORCHVISION, TRANSFORMERS)
LIBRARY = "library"
_RANGES = {"mean": (0.0, 1.0), "std": (0.001, 10.0)}
"""Networks that take inputs of 0 to 255 want a std of 1 / 255; figures for images of 0 to 255 lie far above."""
_DECIDE_NORMALIZATION = ("arch", "encoder", "weights")


class Network(Strict):
    """A segmentation network: its architecture and its starting weights."""

    arch: str = "FPN"
    """An architecture of segmentation-models-pytorch (`Unet`, `FPN`, `DeepLabV3Plus`, ...); `torchvision`, whose
    networks `encoder` names (`deeplabv3_resnet50`, ...); `transformers`, with the content of a `config.json` as the
    option `config`; or `module:function` of your own, called as `function(num_classes=..., **options)`. Teachers made
    by `kdsweep teacher ensemble` are `ensemble`, those by `kdsweep teacher probe` `probed`, those of other classes
    `mapped`; `timm` is an encoder that knows no classes, for teachers alone."""
    encoder: str = "tu-mobilenetv3_small_050"
    """An encoder of segmentation-models-pytorch, or any of timm's as `tu-<name>`; with arch `torchvision` or `timm`
    the name of the network; not used by `module:function`, `transformers`, `ensemble`, `mapped` and `probed`."""
    weights: str = "none"
    """`none`, `library` (the encoder weights that the library publishes, taken from the machine's weights
    folder where they lie there), or the path of a safetensors file."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the architecture."""
    mean: Channels = IMAGENET.mean
    """Mean of RGB in [0, 1] by channel, which is subtracted from the image. Where it is not given, `weights: library`
    takes what the library states for these weights, and all other weights take ImageNet's."""
    std: Channels = IMAGENET.std
    """Standard deviation of RGB in [0, 1] by channel, by which the difference is divided; by default like `mean`."""
    scale: float = Field(default=1.0, gt=0, le=4, exclude_if=lambda scale: scale == 1)
    """Factor on the height and width of every image, by which the network itself resizes what it is given, in training
    and wherever it predicts; losses, evaluations and exports bring its logits to the size of the labels."""

    @model_validator(mode="before")
    @classmethod
    def _normalized_as_the_library_states(cls, content: object) -> object:
        if not isinstance(content, Mapping) or {"mean", "std"} <= content.keys():
            return content
        return {**default_normalization(content)._asdict(), **content}

    @field_validator("options", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return plain_values(value)

    @field_validator("weights")
    @classmethod
    def _are_known_or_a_path(cls, value: str) -> str:
        if value not in ("none", LIBRARY) and not {"/", "\\", "."} & set(value):
            raise ValueError(
                "must be none, library (the weights that the library publishes for the encoder), or the path of a "
                f"safetensors file, got {value!r}"
            )
        return value

    @field_validator("mean", "std")
    @classmethod
    def _are_of_images_in_0_to_1(cls, value: Channels, info: ValidationInfo) -> Channels:
        if info.field_name == "std" and min(value) <= 0:
            raise ValueError(f"must be positive, got {list(value)}")
        low, high = _RANGES[str(info.field_name)]
        if low <= min(value) and max(value) <= high:
            return value
        divided = [round(channel / 255, 4) for channel in value]
        hint = f"; divide both mean and std by 255, which gives {divided}" if max(value) > high else ""
        raise ValueError(f"must be {low:g} to {high:g}, since images have values in [0, 1], got {list(value)}{hint}")

    @property
    def is_custom(self) -> bool:
        """Whether the network is a function of the user's."""
        return ":" in self.arch

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation."""
        return Normalization(self.mean, self.std)

    @property
    def is_of_smp(self) -> bool:
        """Whether the network is one of segmentation-models-pytorch."""
        return not self.is_custom and self.arch not in _NOT_OF_SMP

    @property
    def is_ensemble(self) -> bool:
        """Whether the network is made of other networks."""
        return self.arch == ENSEMBLE

    @property
    def title(self) -> str:
        """The name in reports."""
        return self._name if self.scale == 1 else f"{self._name} at scale {self.scale:g}"

    @property
    def _name(self) -> str:
        if self.is_ensemble:
            members = self.options.get("members", ())
            return f"ensemble of {', '.join(Network.model_validate(member).title for member in members)}"
        if self.arch in (MAPPED, PROBED):
            inner = Network.model_validate(self.options.get("network", {})).title
            return inner if self.arch == MAPPED else f"probe of {inner}"
        if self.arch == TRANSFORMERS:
            config = self.options.get("config")
            name = config.get("model_type") if isinstance(config, Mapping) else None
            return f"transformers {name or '?'}"
        return self.arch if self.is_custom else f"{self.arch} {self.encoder}"


def default_normalization(content: Mapping[str, object]) -> Normalization:
    """The mean and standard deviation of a network that gives none, by its plain content."""
    arch, encoder, weights = (
        content.get(field, Network.model_fields[field].default) for field in _DECIDE_NORMALIZATION
    )
    if arch == TIMM and isinstance(encoder, str):  # its encoders are named with the weights that they are made for
        return stated_normalization(f"tu-{encoder}")
    of_library = weights == LIBRARY and isinstance(arch, str) and ":" not in arch and arch not in _NOT_OF_SMP
    return stated_normalization(encoder) if of_library and isinstance(encoder, str) else IMAGENET


def normalization_remarks(name: str, network: Network) -> tuple[list[str], list[str]]:
    """What a user should know about how a network normalizes images.

    Args:
        name: What the network is, such as `student`.
        network: The network.

    Returns:
        Lines of information, and warnings.
    """
    if network.arch in (ENSEMBLE, MAPPED, PROBED):
        return [], []
    used, stated = network.normalization, IMAGENET
    if network.weights != "none" and network.is_of_smp:
        stated = stated_normalization(network.encoder)
    lines = []
    if used != IMAGENET:
        source = f", as the library states for {network.encoder}" if used == stated else ""
        lines = [f"{name}: images are normalized with {used}{source}"]
    if used == stated:
        return lines, []
    whose = "these weights" if network.weights == LIBRARY else f"its own weights of {network.encoder}"
    todo = (
        "leave mean and std out to take those" if network.weights == LIBRARY else "set mean and std to what yours want"
    )
    warning = f"{name}: images are normalized with {used}, but the library states {stated} for {whose}; {todo}"
    return lines, [warning] if network.weights != "none" and network.is_of_smp else []


def without_inherited_normalization(
    before: Network, after: Mapping[str, object], given: Collection[str]
) -> Mapping[str, object]:
    """The plain content of a network that was made from another one by changing some fields.

    A mean or standard deviation that is not given, and was the default before, is left out, so that it follows the new
    weights.

    Args:
        before: The network that was changed.
        after: The content after the change.
        given: The fields that were changed.
    """
    if not set(_DECIDE_NORMALIZATION) & set(given):
        return after
    defaults = default_normalization(before.model_dump())._asdict()
    inherited = {name for name in defaults if name not in given and getattr(before, name) == defaults[name]}
    return {name: value for name, value in after.items() if name not in inherited}
