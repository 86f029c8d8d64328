"""Distillation methods: the registries of terms and methods, and how they are looked up."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from kdtrain.errors import InputError
from kdtrain.methods import (
    attention_transfer,
    channel_wise,
    cirkd,
    csc_ace,
    cskd,
    dist,
    dsd,
    fitnet,
    holistic,
    ickd,
    ifvd,
    ka,
    local_affinity,
    mgd,
    pixel,
    pkd,
    skd,
    task,
    zoo,
)
from kdtrain.methods.base import Method, Term, TermInput, TermModule

TERMS: dict[str, type[Term]] = {
    "cross_entropy": task.CrossEntropy,
    "pixel_kd": pixel.PixelKd,
    "channel_wise": channel_wise.ChannelWise,
    "csc": csc_ace.Csc,
    "adaptive_cross_entropy": csc_ace.AdaptiveCrossEntropy,
    "cam_cka": cskd.CamCka,
    "grid_pam_cka": cskd.GridPamCka,
    "pairwise": skd.Pairwise,
    "fitnet": fitnet.FitNet,
    "attention_transfer": attention_transfer.AttentionTransfer,
    "local_affinity": local_affinity.LocalAffinity,
    "intra_class_variation": ifvd.IntraClassVariation,
    "cross_image_relation": cirkd.CrossImageRelation,
    "memory_relation": cirkd.MemoryRelation,
    "dist": dist.Dist,
    "pixel_similarity": dsd.PixelSimilarity,
    "category_similarity": dsd.CategorySimilarity,
    "channel_correlation": ickd.ChannelCorrelation,
    "knowledge_affinity": ka.KnowledgeAffinity,
    "pearson": pkd.Pearson,
    "masked_generation": mgd.MaskedGeneration,
    "holistic": holistic.Holistic,
    "dice": task.Dice,
}

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        task.NONE,
        pixel.KD,
        channel_wise.CWD,
        channel_wise.CWD_FEATURE,
        csc_ace.CSC_ACE,
        csc_ace.CSC_ACE_ADD,
        csc_ace.CSC,
        csc_ace.ACE,
        cskd.CSKD,
        skd.SKD_PA,
        holistic.SKD,
        fitnet.FITNET,
        attention_transfer.AT,
        local_affinity.LOCAL,
        ifvd.IFVD,
        cirkd.CIRKD,
        cirkd.CIRKD_BATCH,
        dist.DIST,
        dist.DIST_AUX,
        dsd.DSD,
        ickd.ICKD,
        ka.KA,
        pkd.PKD,
        mgd.MGD,
        zoo.ZOO_CWD,
        zoo.ZOO_SKD,
        zoo.ZOO_IFVD,
        zoo.ZOO_AT,
        zoo.ZOO_FITNET,
        task.DICE_CE,
        task.OHEM,
        task.BOUNDARY_CE,
    )
}


def parse_term(value: Mapping[str, Any] | Term) -> Term:
    """Read a term as it stands in YAML: a mapping with `loss` and that loss's options.

    Raises:
        InputError: If the loss is unknown, an option is unknown, or a value is not allowed.
    """
    if isinstance(value, Term):
        return value
    if not isinstance(value, Mapping) or "loss" not in value:
        raise InputError(f"a term is a mapping with the key loss, one of {_known(TERMS)}, got {value!r}")
    loss = value["loss"]
    if not isinstance(loss, str) or loss not in TERMS:
        raise InputError(f"unknown loss {loss!r} in a term: known are {_known(TERMS)}")
    kind = TERMS[loss]
    name = value.get("name", loss)
    unknown = [str(key) for key in value if key not in kind.model_fields]
    if unknown:
        raise InputError(f"term {name!r} has no option {', '.join(unknown)}: allowed are {_known(kind.model_fields)}")
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        raise InputError(f"term {name!r}: " + "; ".join(_said(e) for e in error.errors())) from None


def get_method(name: str) -> Method:
    """The method called `name`.

    Raises:
        InputError: If there is none.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}: known are {_known(METHODS)}")
    return METHODS[name]


AnyTerm = Annotated[SerializeAsAny[Term], BeforeValidator(parse_term)]
"""A field of a config which holds a term of any loss."""


def _known(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


def _said(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {text}, got {error['input']!r}" if where else text


__all__ = [
    "METHODS",
    "TERMS",
    "AnyTerm",
    "Method",
    "Term",
    "TermInput",
    "TermModule",
    "get_method",
    "parse_term",
]
