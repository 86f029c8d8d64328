"""Pure functions of maps `(N, C, H, W)` and labels `(N, H, W)`; gradients for the student only."""

from kdtrain.losses.adaptive import adaptive_cross_entropy
from kdtrain.losses.attention import cam_cka, grid_pam_cka
from kdtrain.losses.channels import channel_wise
from kdtrain.losses.correlation import csc
from kdtrain.losses.maps import resize_labels, resize_map
from kdtrain.losses.pixel import pixel_kd
from kdtrain.losses.task import cross_entropy

__all__ = [
    "adaptive_cross_entropy",
    "cam_cka",
    "channel_wise",
    "cross_entropy",
    "csc",
    "grid_pam_cka",
    "pixel_kd",
    "resize_labels",
    "resize_map",
]
