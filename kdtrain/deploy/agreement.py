"""How far an exported file is from the network that it was made of."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdtrain.deploy.deployed import Deployed
from kdtrain.errors import InputError

Run = Callable[[Tensor], Tensor]
"""From images `(N, 3, H, W)` to the output of a file."""
TOLERANCE = 1e-4
"""How far a logit may be from the network's, beside the largest logit of the image where that is above 1."""


class Agreement(NamedTuple):
    """How far an exported file is from torch, over all images that were compared."""

    images: int
    logit: float | None
    """The largest difference of a logit, beside the largest logit where that is above 1; None for class ids."""
    classes: float
    """The part of the pixels with the same class."""


def compare(run: Run, module: Deployed, images: Sequence[Tensor]) -> Agreement:
    """Run an exported file and compare its outputs with those of the network.

    A class may differ only where the network's two highest logits are closer than the tolerance.

    Args:
        run: Runs the file.
        module: The module that it was made from.
        images: Batches `(N, 3, H, W)` in [0, 1].

    Raises:
        InputError: If they differ by more than the tolerance.
    """
    furthest, same, pixels = 0.0, 0, 0
    is_class = module.inside.output == "classes"
    for batch in images:
        with torch.inference_mode():
            got, logits = run(batch), module.logits(batch)
        scale = max(1.0, float(logits.abs().max()))
        wanted = logits.argmax(dim=1)
        classes = got if is_class else got.argmax(dim=1)
        if not is_class:
            furthest = max(furthest, float((got - logits).abs().max()) / scale)
        differs = classes != wanted
        if differs.any():
            top = logits.topk(2, dim=1).values
            margin = float((top[:, 0] - top[:, 1])[differs].max()) / scale
            furthest = max(furthest, margin)
        same, pixels = same + int((~differs).sum()), pixels + differs.numel()
    agreement = Agreement(sum(map(len, images)), None if is_class else furthest, same / pixels)
    if furthest > TOLERANCE or not math.isfinite(furthest):
        raise InputError(
            f"the exported file differs from torch: {100 * agreement.classes:.3f} % of the pixels have the same class, "
            f"and logits differ by up to {furthest:.1e} of the largest (allowed: {TOLERANCE:g}); nothing was written"
        )
    return agreement
