"""What the CIRKD zoo runs under the names of other papers, from which most later tables are copied.

Its "CWD", "SKD" and "IFVD" come with pixel-wise KD and a discriminator, its "AT" and "FitNet" with pixel-wise KD, all
at its own weights; only its "DSD" is alone. CSKD and DIST build on the same code.
"""

from kdtrain.methods.attention_transfer import AttentionTransfer
from kdtrain.methods.base import Method
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.fitnet import FitNet
from kdtrain.methods.holistic import HOLISTIC_PULLS, HOLISTIC_SEARCH, VIEW, Holistic
from kdtrain.methods.ifvd import IntraClassVariation
from kdtrain.methods.pixel import FORMER_KD_PULLS, KD_PULLS, PixelKd
from kdtrain.methods.skd import Pairwise
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Domain, Range

CITATION = (
    "Yang, Zhou, An, Jiang, Xu, Zhang. Cross-Image Relational Knowledge Distillation for Semantic Segmentation. "
    "CVPR 2022, arXiv:2204.06986: its code for other methods."
)
KD_SEARCH: dict[str, Domain] = {"pixel_kd.weight": Range(low=0.1, high=30, log=True)}
KD_NOTES = {"pixel_kd": "stated: weight 1 at T = 1, T² times the mean over pixels"}
HOLISTIC_NOTES = {
    "holistic": "stated: hinge, weight 0.001, the discriminator's own loss 0.1, Adam at 0.0004; computed even at "
    "weight 0, and so without a value at CamVid's crops of 360 x 360",
    "holistic.depth": "inferred: fit",
    "holistic.view": "inferred: 32",
}


def _adversary(view: int | None = VIEW) -> Holistic:
    return Holistic(weight=1e-3, objective="hinge", view=view)


_CWD_PARTS = (
    CrossEntropy(),
    ChannelWise(weight=3.0, temperature=4.0),
    ChannelWise(
        name="channel_wise_feature",
        weight=50.0,
        temperature=4.0,
        student_layer="decoder",
        teacher_layer="decoder",
        counted="student",
    ),
)

ZOO_CWD = Method(
    name="zoo_cwd",
    title="The CIRKD zoo's CWD: logits and features, with KD and a discriminator",
    citation=CITATION,
    terms=(*_CWD_PARTS, PixelKd(), _adversary()),
    published=(*_CWD_PARTS, PixelKd(), _adversary(view=None)),
    search={
        "channel_wise.weight": Range(low=0.3, high=30, log=True),
        "channel_wise_feature.weight": Range(low=3, high=300, log=True),
        **KD_SEARCH,
        **HOLISTIC_SEARCH,
    },
    pulls={
        "channel_wise": Range(low=0.2, high=19, log=True),
        "channel_wise_feature": Range(low=0.2, high=19, log=True),
        **KD_PULLS,
        **HOLISTIC_PULLS,
    },
    former_pulls=FORMER_KD_PULLS,
    notes={
        "channel_wise": "stated: weight 3 on logits and 50 on features, both at T = 4; 0.3 and 5 for SegFormer",
        "channel_wise_feature.adapter": "stated: a 1x1 convolution without bias where the channels differ",
        "channel_wise_feature.counted": "stated: divided by the student's channels before the adapter",
        **KD_NOTES,
        **HOLISTIC_NOTES,
    },
)

ZOO_SKD = Method(
    name="zoo_skd",
    title="The CIRKD zoo's SKD: pairs, with KD and a discriminator",
    citation=CITATION,
    terms=(CrossEntropy(), Pairwise(weight=10.0), PixelKd(), _adversary()),
    published=(CrossEntropy(), Pairwise(weight=10.0), PixelKd(), _adversary(view=None)),
    search={"pairwise.weight": Range(low=0.05, high=100, log=True), **KD_SEARCH, **HOLISTIC_SEARCH},
    pulls={"pairwise": Range(low=0.1, high=10, log=True), **KD_PULLS, **HOLISTIC_PULLS},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "pairwise": "stated: weight 10 on a quarter of the pixels, with a gradient through the lengths; the paper's "
        "own code has 4 to 9 nodes, weight 0.5 and constant lengths (skd)",
        **KD_NOTES,
        **HOLISTIC_NOTES,
    },
)

ZOO_IFVD = Method(
    name="zoo_ifvd",
    title="The CIRKD zoo's IFVD: intra-class variation, with KD and a discriminator",
    citation=CITATION,
    terms=(CrossEntropy(), IntraClassVariation(weight=20.0), PixelKd(), _adversary()),
    published=(CrossEntropy(), IntraClassVariation(weight=20.0), PixelKd(), _adversary(view=None)),
    search={"intra_class_variation.weight": Range(low=2, high=2000, log=True), **KD_SEARCH, **HOLISTIC_SEARCH},
    pulls={"intra_class_variation": Range(low=0.1, high=10, log=True), **KD_PULLS, **HOLISTIC_PULLS},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "intra_class_variation": "stated: weight 20; 200 in the paper's own code (ifvd)",
        **KD_NOTES,
        **HOLISTIC_NOTES,
    },
)

ZOO_AT = Method(
    name="zoo_at",
    title="The CIRKD zoo's AT: attention transfer with KD",
    citation=CITATION,
    terms=(CrossEntropy(), AttentionTransfer(weight=1.2, form="squared"), PixelKd()),
    published=(CrossEntropy(), AttentionTransfer(weight=1e4), PixelKd()),
    search={"attention_transfer.weight": Range(low=1e2, high=1e6, log=True), **KD_SEARCH},
    pulls={"attention_transfer": Range(low=0.1, high=10, log=True), **KD_PULLS},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "attention_transfer": "stated: weight 10000 at 64 x 128 pixels, on what feeds the classifier; inferred: 1.2 "
        "for form squared, which is 10000 divided by these pixels",
        **KD_NOTES,
    },
)

ZOO_FITNET = Method(
    name="zoo_fitnet",
    title="The CIRKD zoo's FitNet: hints with KD",
    citation=CITATION,
    terms=(CrossEntropy(), FitNet(weight=10.0, adapter="conv"), PixelKd()),
    search={"fitnet.weight": Range(low=0.1, high=100, log=True), **KD_SEARCH},
    pulls={"fitnet": Range(low=0.1, high=10, log=True), **KD_PULLS},
    former_pulls=FORMER_KD_PULLS,
    notes={
        "fitnet": "stated: weight 10, on what feeds the classifier",
        "fitnet.adapter": "stated: a 1x1 convolution without bias, even where the channels agree",
        **KD_NOTES,
    },
)
