"""Pure functions of maps `(N, C, H, W)` and labels `(N, H, W)`; gradients for the student only."""

from kdtrain.losses.adaptive import adaptive_cross_entropy
from kdtrain.losses.attention import cam_cka, grid_pam_cka
from kdtrain.losses.channels import channel_wise
from kdtrain.losses.class_relations import dist
from kdtrain.losses.correlation import csc
from kdtrain.losses.cross_image import cross_image_relation, memory_relation
from kdtrain.losses.maps import resize_labels, resize_map
from kdtrain.losses.pixel import pixel_kd
from kdtrain.losses.points import attention_transfer, fitnet, local_affinity
from kdtrain.losses.relations import channel_correlation, knowledge_affinity, pairwise, pearson
from kdtrain.losses.similarity import category_similarity, pixel_similarity
from kdtrain.losses.task import cross_entropy, dice
from kdtrain.losses.variation import intra_class_variation

__all__ = [
    "adaptive_cross_entropy",
    "attention_transfer",
    "cam_cka",
    "category_similarity",
    "channel_correlation",
    "channel_wise",
    "cross_entropy",
    "cross_image_relation",
    "csc",
    "dice",
    "dist",
    "fitnet",
    "grid_pam_cka",
    "intra_class_variation",
    "knowledge_affinity",
    "local_affinity",
    "memory_relation",
    "pairwise",
    "pearson",
    "pixel_kd",
    "pixel_similarity",
    "resize_labels",
    "resize_map",
]
