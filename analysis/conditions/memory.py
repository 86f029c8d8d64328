"""GPU memory: what the trials held, and how many of them would fit on one GPU."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables.files import Tables

SPARE_SHARE = 0.10
CONTEXT_BYTES = 512 * 2**20
"""What a process takes beside its tensors: the CUDA context and loaded kernels. Inferred, not measured per device."""


@dataclass(frozen=True)
class GpuAdvice:
    """How many trials fit on one GPU by their memory, and the ``resources.gpu`` that lets so many run."""

    fit: int
    fraction: float


def advice(peak_bytes: float, gpu_memory_bytes: float) -> GpuAdvice:
    """How many processes of this peak fit on one GPU, with room to spare.

    Each is taken to need its peak, a tenth more, and 0.5 GiB for its CUDA context. What ran once fits once.

    Args:
        peak_bytes: The most memory that a process held, in bytes.
        gpu_memory_bytes: The memory of one GPU, in bytes.
    """
    fit = max(1, int(gpu_memory_bytes // (peak_bytes * (1 + SPARE_SHARE) + CONTEXT_BYTES)))
    return GpuAdvice(fit, _fraction(fit))


def _fraction(fit: int) -> float:
    """The shortest decimal of which ``fit``, and not one more, fit into 1."""
    for digits in range(1, 9):
        fraction = math.floor(10**digits / fit) / 10**digits
        if fraction * (fit + 1) > 1:
            return fraction
    return 1 / fit


def memory(tables: "Tables") -> "pd.DataFrame":
    """GPU memory per study; empty where none was measured, as on a CPU.

    Returns:
        One row per study: ``study``, ``gpu`` (names), ``trials`` (measured ones), ``peak_memory_bytes`` (of one
        process), ``gpu_memory_bytes`` (of the smallest GPU that it ran on), ``share``, and ``fit`` and ``fraction``
        from ``advice``; those are NaN where a trial took several GPUs, since then no two can share one.
    """
    import pandas as pd

    columns = ["environment_id", "device_name", "gpu_memory_bytes", "processes"]
    measured = tables["trials"].merge(tables["environments"][columns], on="environment_id")
    measured = measured.dropna(subset=["peak_memory_bytes", "gpu_memory_bytes"])
    rows = []
    for study, group in measured.groupby("study", sort=False):
        peak, total = int(group["peak_memory_bytes"].max()), int(group["gpu_memory_bytes"].min())
        gpu_advice = advice(peak, total) if group["processes"].fillna(1).max() <= 1 else None
        rows.append(
            {
                "study": str(study),
                "gpu": ", ".join(sorted(group["device_name"].dropna().unique())),
                "trials": len(group),
                "peak_memory_bytes": peak,
                "gpu_memory_bytes": total,
                "share": peak / total,
                "fit": gpu_advice.fit if gpu_advice else math.nan,
                "fraction": gpu_advice.fraction if gpu_advice else math.nan,
            }
        )
    names = ["study", "gpu", "trials", "peak_memory_bytes", "gpu_memory_bytes", "share", "fit", "fraction"]
    return pd.DataFrame(rows, columns=names)
