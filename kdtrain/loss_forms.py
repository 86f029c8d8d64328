"""The options of losses as types, and what follows from an option alone: configs check them without torch."""

from typing import Literal

AdaptiveForm = Literal["hard", "soft", "threshold", "swap"]
Normalize = Literal["channel", "class", "channel_mean", "none"]
Samples = Literal["batch", "pixels"]
Estimator = Literal["biased", "unbiased"]
Distance = Literal["neg_log", "one_minus"]
IntraAxis = Literal["pixels", "batch"]
CscForm = Literal["A", "A0", "B", "C", "D", "E"]
RelationScope = Literal["pair", "batch"]
Divergence = Literal["kl", "reverse", "symmetric", "mse"]
PoolKind = Literal["max", "average"]
PixelReduction = Literal["mean", "ifvd", "mmrazor", "skd"]
FitReduction = Literal["mean", "image"]
AttentionForm = Literal["code", "paper", "squared"]
AffinityContrast = Literal["absolute", "relative"]
Neighbours = Literal[8, 24]
Nodes = Literal["pool", "official"]
CorrelationReduction = Literal["mean", "zoo"]
AffinityReduction = Literal["mean", "torchdistill"]
LayerPairs = Literal["all", "adjacent"]
SimilarityReduction = Literal["mean", "image"]
SimilarityForm = Literal["code", "rows"]
SimilaritySoftmax = Literal["space", "class"]
PrototypeScope = Literal["image", "batch"]

LEAST_SAMPLES: dict[Estimator, int] = {"biased": 2, "unbiased": 4}
"""Samples that an estimator of CKA needs."""


def needs_equal_channels(form: CscForm, relation: str = "product") -> bool:
    """Whether a form of CSC compares channel by channel."""
    return not (form == "A" or (form == "B" and relation == "product"))
