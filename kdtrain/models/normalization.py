"""The mean and standard deviation that images are normalized with, as the library states them for its weights."""

from typing import NamedTuple

Channels = tuple[float, float, float]


class Normalization(NamedTuple):
    """Of RGB in [0, 1], by channel."""

    mean: Channels
    std: Channels

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in channels) for channels in self)
        return f"mean {mean} and std {std}"


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NO_NORMALIZATION = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Images as they are."""
_HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN = Normalization((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_STATED = {
    "dpn": _DPN,
    "inceptionresnetv2": _HALF,
    "inceptionv4": _HALF,
    "xception": _HALF,
    "timm-tf_efficientnet_lite": _HALF,
}
"""By the beginning of an encoder's name: where the weights of segmentation-models-pytorch want something else than
ImageNet's statistics. Versions up to 0.4 hold these figures in `pretrained_settings`, later ones in files beside the
weights, which only a hub has."""
_TIMM_UNDER_ANOTHER_NAME = {
    "timm-mobilenetv3": "tf_mobilenetv3",
    "timm-regnet": "regnet",
    "timm-res2": "res2",
    "timm-resnest": "resnest",
    "timm-gernet": "gernet",
}
"""Beginnings of names that segmentation-models-pytorch replaces by those of timm's models."""


def stated_normalization(encoder: str) -> Normalization:
    """What the library's weights of an encoder want; ImageNet's where the library has no weights of it."""
    for prefix, beginning in _TIMM_UNDER_ANOTHER_NAME.items():
        if encoder.startswith(prefix):
            return _of_timm(beginning + encoder.removeprefix(prefix))
    if encoder.startswith("tu-"):
        return _of_timm(encoder.removeprefix("tu-"))
    return next((stated for prefix, stated in _STATED.items() if encoder.startswith(prefix)), IMAGENET)


def _of_timm(name: str) -> Normalization:
    import timm  # takes seconds, which only weights of timm need

    try:
        settings = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag, which building the network reports
        settings = None
    if settings is None or not timm.is_model_pretrained(name):
        return IMAGENET
    (r, g, b), (sr, sg, sb) = settings.mean, settings.std
    return Normalization((r, g, b), (sr, sg, sb))
