"""Pixel-wise distillation: the class distribution of every pixel (Hinton et al. 2015, on score maps)."""

from torch import Tensor

from kdtrain.loss_forms import PixelReduction
from kdtrain.losses.divergence import divergences, softmax_and_log
from kdtrain.losses.maps import distillation_loss, masked_mean, resize_labels


@distillation_loss(equal_channels=True)
def pixel_kd(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    reduction: PixelReduction = "mean",
    labels: Tensor | None = None,
    ignore_index: int = 255,
    confidence: float | Tensor = 0.0,
) -> Tensor:
    """KL(teacher || student) between the class distributions of every pixel.

    With `L` the mean over the pixels that count of KL at temperature `T`, and `S` their share of all pixels,
    public codes compute different multiples:

    * `mean`: `T^2 L` (CIRKD),
    * `ifvd`: `L / C`, without `T^2` (IFVD, TorchDistiller),
    * `mmrazor`: `T^2 S H W L`,
    * `skd`: `N S (L + mean entropy of the teacher)`, a cross-entropy without `T^2` (SKD).

    Args:
        student: Logits `(N, C, H, W)`.
        teacher: Logits `(N, C, H, W)`.
        temperature: Divides both logits.
        reduction: Whose multiple.
        labels: `(N, H_label, W_label)`; if given, pixels labelled `ignore_index` do not count (no public code
            does so). They are brought to the map by nearest pixel.
        ignore_index: Label of pixels that do not count.
        confidence: Pixels do not count where the teacher's largest probability, at this temperature, is below
            it; 0 counts all (inferred). With no pixel left the loss is 0.
    """
    batch, classes, height, width = student.shape
    pixels = divergences(student.flatten(2), teacher.flatten(2), temperature, 1, "kl").view(batch, height, width)
    if reduction == "skd":
        p_teacher, log_teacher = softmax_and_log(teacher / temperature, 1)
        pixels = pixels - (p_teacher * log_teacher).sum(1)
    mask: Tensor | None = None
    if labels is not None:
        mask = resize_labels(labels, (height, width)) != ignore_index
    if isinstance(confidence, Tensor) or confidence > 0:
        scores = teacher / temperature
        sure = (scores.amax(1) - scores.logsumexp(1)).exp() >= confidence
        mask = sure if mask is None else mask & sure
    mean = pixels.mean() if mask is None else masked_mean(pixels, mask)
    share = 1.0 if mask is None else mask.double().mean()
    match reduction:
        case "mean":
            return temperature**2 * mean
        case "ifvd":
            return mean / classes
        case "mmrazor":
            return temperature**2 * height * width * share * mean
        case "skd":
            return batch * share * mean
    raise ValueError(f"reduction must be mean, ifvd, mmrazor or skd, got {reduction!r}")
