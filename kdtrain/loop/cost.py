"""What a student costs to run: parameters, multiply-accumulates, latency."""

import platform
import statistics
import time

import torch

from kdtrain.loop.reports import StudentCost
from kdtrain.models import Network, TappedNetwork
from kdtrain.models.scaling import scaled_size

WARM_UP, REPEATS = 2, 9

_MEASURED: dict[tuple[object, ...], StudentCost] = {}


def measure_cost(
    config: Network, network: TappedNetwork, image_size: tuple[int, ...], scale: float, device: torch.device
) -> StudentCost:
    """Parameters, multiply-accumulates and latency of one image, measured once in a process for each kind of network.

    Args:
        config: The kind of network.
        network: The network, on `device`.
        image_size: Height and width of an image of the data.
        scale: Factor on this size at evaluation.
        device: Where to measure.

    Returns:
        Multiply-accumulates are those of convolutions and matrix products, half the FLOPs that torch counts; the
        latency is the median of a batch of one in float32, with the threads that training has.
    """
    params = sum(parameter.numel() for parameter in network.parameters())
    height, width = scaled_size(image_size, scale)
    kind = (config.model_dump_json(), params, height, width, str(device), torch.get_num_threads())
    if kind in _MEASURED:
        return _MEASURED[kind].copy()
    image = torch.zeros(1, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
    macs = count_macs(network, image)
    with torch.inference_mode():
        seconds = [_timed(network, image, device) for _ in range(WARM_UP + REPEATS)][WARM_UP:]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    _MEASURED[kind] = {
        "params": params,
        "macs": macs,
        "latency_ms": 1000 * statistics.median(seconds),
        "latency_device": name if device.type == "cuda" else f"{name}, {torch.get_num_threads()} threads",
        "input_height": height,
        "input_width": width,
    }
    return _MEASURED[kind].copy()


def count_macs(network: TappedNetwork, images: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and matrix products of one pass of images `(N, 3, H, W)`."""
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton, for which every command would wait

    network.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(images)
    except AttributeError:  # torch's counter needs gradients where weights are computed, as with spectral norm
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:
            network(images)
    return int(counter.get_total_flops()) // 2


def _timed(network: TappedNetwork, image: torch.Tensor, device: torch.device) -> float:
    start = time.perf_counter()
    network(image)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
