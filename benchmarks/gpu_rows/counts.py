"""Operations and kernels that a step launches, and how often the host waits for the device in it."""

import warnings

import torch
from gpu_rows.bench import Bench
from gpu_rows.resident import ResidentSteps
from torch.profiler import ProfilerActivity, profile

_STEPS = 3
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def synchronizations(bench: Bench) -> None:
    """Per step and method, on a batch that stays on the device; last what needs the profiler."""
    for method in ("none", *bench.methods) if bench.on_gpu else ():
        bench.row(method, "synchronizations/step", _waits(_warm(bench, method)))
    for method in ("none", *bench.methods):
        steps = _warm(bench, method)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]
        with profile(activities=activities) as profiler:
            for _ in range(_STEPS):
                steps()
            bench.synchronize()
        events = profiler.key_averages()
        operations = sum(event.count for event in events if event.key.startswith("aten::"))
        bench.row(method, "operations/step", operations / _STEPS, "nested ones counted, too")
        if bench.on_gpu:
            launches = sum(event.count for event in events if event.key.startswith("cudaLaunchKernel"))
            waits = sum(event.count for event in events if event.key in _WAITS)
            busy_us = sum(event.self_device_time_total for event in events)
            bench.row(method, "kernels/step", launches / _STEPS)
            bench.row(method, "waits/step", (waits - 1) / _STEPS, "of the CUDA runtime, without the profiler's own")
            bench.row(method, "device ms/step", busy_us / 1e3 / _STEPS)


def _warm(bench: Bench, method: str) -> ResidentSteps:
    """Steps of which some were taken."""
    steps = ResidentSteps(bench.config(method), bench.machine())
    for _ in range(2):
        steps()
    bench.synchronize()
    return steps


def _waits(steps: ResidentSteps) -> float:
    """Calls that torch reports as synchronizing, per step."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(_STEPS):
                steps()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return sum("synchroniz" in str(each.message) for each in said) / _STEPS
