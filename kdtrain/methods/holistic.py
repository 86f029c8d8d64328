"""Holistic distillation: a discriminator that tells the teacher's score maps from the student's (Liu et al. 2019).

The discriminator has an optimizer of its own and makes a step whenever the loss is computed in training, so that
the training of the student needs no step of its own for it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import spectral_norm

from kdtrain.errors import InputError
from kdtrain.losses import resize_map
from kdtrain.losses.maps import full_precision, sent
from kdtrain.methods.base import Method, Shape, Term, TermInput, TermModule
from kdtrain.methods.skd import CITATION, SKD_PA
from kdtrain.space import Domain, Range

_WIDTHS = (64, 128, 256, 512)
_ATTENTIVE = 256
"""From this width on, self-attention follows."""
_LAST_KERNEL = 4
_SMALLEST = _LAST_KERNEL << len(_WIDTHS)
"""Height and width that the published discriminator needs."""


class Holistic(Term):
    """How far the student's score maps are from passing as the teacher's."""

    formula: ClassVar[str] = "−mean D(z_s); D is trained by mean D(z_s) − mean D(z_t) + λ · penalty, or by a hinge"
    source: ClassVar[str] = "Liu et al., CVPR 2019 and TPAMI 2020; discriminator of Zhang et al., ICML 2019"
    status: ClassVar[Mapping[str, str]] = {
        "discriminator": "stated: batch norm, four spectrally normed 4x4 convolutions of stride 2 with leaky ReLU 0.1, "
        "widths 64 to 512, self-attention behind the last two, a 4x4 convolution",
        "objective": "stated: wgan_gp with penalty 10 (SKD, IFVD, CWD), hinge (CIRKD)",
        "optimizer": "stated: SGD (SKD), Adam with (0.9, 0.99) (IFVD, CWD, CIRKD), both at 0.0004; "
        "inferred: SGD's momentum 0.9 and weight decay 0.0005, which are the student's there",
        "learning rate": "stated: constant (CIRKD)",
        "order": "inferred: the discriminator's step comes before the student's; after it in the codes",
        "view": "stated: none; inferred: a size",
        "depth": "inferred: fit, which is published wherever that has an output",
        "size": "inferred: a teacher map of another size is resized to the student's",
    }
    disagreements: ClassVar[tuple[str, ...]] = (
        "The paper conditions the discriminator on the image; the codes show it the logits alone.",
        "At 45 x 45 or 45 x 60 (CamVid) the published discriminator has no output; CIRKD's code computes it even at "
        "weight 0.",
        "The student's weight is 0.1 in SKD and 0.001 in IFVD, CWD and CIRKD.",
    )

    loss: Literal["holistic"] = "holistic"
    objective: Literal["wgan_gp", "hinge"] = "wgan_gp"
    """What the discriminator is trained by."""
    penalty: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the gradient penalty of `wgan_gp`."""
    depth: Literal["fit", "published"] = "fit"
    """`fit` leaves out layers where the map is too small for all four."""
    view: Annotated[int, Field(ge=4)] | None = None
    """Height and width to which both maps are resized for the discriminator, whose depth then depends on no map."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """The discriminator's: Adam with betas 0.9 and 0.99, or SGD with momentum 0.9 and weight decay 0.0005."""
    lr: Annotated[float, Field(gt=0)] = 4e-4
    """The discriminator's learning rate."""
    discriminator_weight: Annotated[float, Field(gt=0)] = 0.1
    """What the discriminator's own loss is multiplied by; hardly matters to Adam."""

    @property
    def equal_channels(self) -> bool:
        """One discriminator looks at both maps."""
        return True

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> TermModule:
        """The discriminator and its optimizer."""
        channels, height, width = student
        if self.view is not None:
            height = width = self.view
        side = min(height, width)
        smallest = _SMALLEST if self.depth == "published" else 2
        if side < smallest:
            advice = "larger crops or depth: fit" if self.depth == "published" else "larger crops or another layer"
            raise InputError(
                f"term {self.name!r}: the {self.depth} discriminator needs maps of at least {smallest} x {smallest}, "
                f"got {height} x {width} at {self.student_layer!r} of the student; take {advice}"
            )
        return HolisticModule(self, channels, side)


class HolisticModule(TermModule):
    """The discriminator, which is trained in the same call that computes the loss."""

    def __init__(self, term: Holistic, channels: int, side: int) -> None:
        super().__init__()
        self.term = term
        self.discriminator = build_discriminator(channels, side).requires_grad_(False)
        parameters = list(self.discriminator.parameters())
        self.optimizer: torch.optim.Optimizer
        if term.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=term.lr, betas=(0.9, 0.99))
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=term.lr, momentum=0.9, weight_decay=5e-4)

    @property
    def draws(self) -> bool:
        """The gradient penalty draws; also, the discriminator takes steps of its own."""
        return True

    def forward(self, taps: TermInput) -> Tensor:
        """Return minus the mean judgement of the student; in training mode, the discriminator learns first."""
        student, teacher = taps.pair()
        if self.term.view is not None:
            student, teacher = (resize_map(side, (self.term.view, self.term.view)) for side in (student, teacher))
        with full_precision(student):
            if self.training:
                self._learn(student.detach(), teacher.detach(), taps)
            loss: Tensor = -self.discriminator(student).mean()
            return loss

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the optimizer, which belongs into checkpoints."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.optimizer.load_state_dict(state)

    def _learn(self, fake: Tensor, real: Tensor, taps: TermInput) -> None:
        # needs no gradient outside of this function, so that the student's optimizer and its clipping never see it
        judge = self.discriminator.requires_grad_(True)
        parameters = list(judge.parameters())
        with torch.enable_grad():
            match self.term.objective:
                case "hinge":
                    loss = relu(1 - judge(real)).mean() + relu(1 + judge(fake)).mean()
                case "wgan_gp":
                    drawn = sent(torch.rand(len(fake), 1, 1, 1, generator=taps.generator), fake)
                    loss = judge(fake).mean() - judge(real).mean()
                    loss = loss + self.term.penalty * gradient_penalty(judge, drawn * real + (1 - drawn) * fake)
            gradients = torch.autograd.grad(self.term.discriminator_weight * loss, parameters)
        judge.requires_grad_(False)
        taps.broadcast_([*gradients, *judge.buffers()])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def gradient_penalty(judge: nn.Module, maps: Tensor) -> Tensor:
    """Mean over images of `(|gradient of the judgement| - 1)^2` (Gulrajani et al., NeurIPS 2017)."""
    maps = maps.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(judge(maps).sum(), maps, create_graph=True)
    penalty: Tensor = (torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1).square().mean()
    return penalty


def build_discriminator(channels: int, side: int) -> nn.Sequential:
    """Make a discriminator for maps `(N, channels, H, W)`, the smaller of H and W being `side` (at least 2).

    Where the map is too small for all four layers of stride 2, the last ones are left out.
    """
    depth = min(len(_WIDTHS), max(1, (side // _LAST_KERNEL).bit_length() - 1))
    layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
    for width in _WIDTHS[:depth]:
        layers += [spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.1)]
        if width >= _ATTENTIVE:
            layers.append(SelfAttention(width))
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, min(_LAST_KERNEL, side >> depth)))


class SelfAttention(nn.Module):
    """Attention among the pixels of a small map, added with a factor that starts at 0 (Zhang et al., ICML 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `(N, C, H, W)` of the same shape."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        attention = (query.mT @ key).softmax(-1)
        attended: Tensor = maps + self.gamma * (value @ attention.mT).view_as(maps)
        return attended


VIEW = 32
"""Height and width that the discriminator sees by default: inferred; half of the published maps'."""
HOLISTIC_SEARCH: dict[str, Domain] = {"holistic.weight": Range(low=1e-4, high=1e-1, log=True)}
HOLISTIC_PULLS = {"holistic": Range(low=0.001, high=0.3, log=True)}

SKD = Method(
    name="skd",
    title="Structured distillation: pixels, pairs and a discriminator",
    citation=CITATION,
    terms=(*SKD_PA.terms, Holistic(weight=0.1, optimizer="sgd", view=VIEW)),
    published=(*SKD_PA.published, Holistic(weight=0.1, optimizer="sgd")),
    search={**SKD_PA.search, **HOLISTIC_SEARCH},
    pulls={**SKD_PA.pulls, **HOLISTIC_PULLS},
    notes={
        **SKD_PA.notes,
        "weights": "stated: 10, 0.5 and 0.1 in the authors' script",
        "holistic": "stated: WGAN-GP with SGD at 0.0004; inferred: view 32",
        "parts": "stated: the row Pi + Pa + Ho of the authors' ablation",
    },
)
