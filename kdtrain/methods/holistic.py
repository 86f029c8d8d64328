"""Holistic distillation: a discriminator that tells the teacher's score maps from the student's (Liu et al. 2019).

The discriminator has an optimizer of its own and makes a step whenever the loss is computed in training, so that
the training of the student needs no step of its own for it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from kdtrain.errors import InputError
from kdtrain.methods.base import Method, Shape, Term
from kdtrain.methods.skd import CITATION, SKD_PA
from kdtrain.space import Domain, Range

if TYPE_CHECKING:
    from kdtrain.methods.modules.base import TermModule

WIDTHS = (64, 128, 256, 512)
"""Channels of the discriminator's layers of stride 2."""
LAST_KERNEL = 4
_PUBLISHED_SIDE = LAST_KERNEL << len(WIDTHS)
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

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The discriminator and its optimizer."""
        from kdtrain.methods.modules.holistic import HolisticModule

        channels, height, width = student
        if self.view is not None:
            height = width = self.view
        side = min(height, width)
        smallest = _PUBLISHED_SIDE if self.depth == "published" else 2
        if side < smallest:
            advice = "larger crops or depth: fit" if self.depth == "published" else "larger crops or another layer"
            raise InputError(
                f"term {self.name!r}: the {self.depth} discriminator needs maps of at least {smallest} x {smallest}, "
                f"got {height} x {width} at {self.student_layer!r} of the student; take {advice}"
            )
        return HolisticModule(self, channels, side)


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
    former_pulls=SKD_PA.former_pulls,
    notes={
        **SKD_PA.notes,
        "weights": "stated: 10, 0.5 and 0.1 in the authors' script",
        "holistic": "stated: WGAN-GP with SGD at 0.0004; inferred: view 32",
        "parts": "stated: the row Pi + Pa + Ho of the authors' ablation",
    },
)
