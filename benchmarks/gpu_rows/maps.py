"""Record or ask: seconds to read the teacher's maps beside seconds to compute them, by layer."""

from gpu_rows.bench import Bench
from gpu_rows.resident import ResidentSteps

from kdtrain.loop.map_costs import measure_map_costs


def record_or_ask(bench: Bench) -> None:
    """What one image costs, in the precision of a training."""
    steps = ResidentSteps(bench.config("kd"), bench.machine())
    teacher = steps.run.teacher
    assert teacher is not None
    for layers in (("logits",), ("decoder",), ("logits", "decoder")):
        in_memory, on_disk = measure_map_costs(teacher, steps.batch.images, layers, bench.folder)
        case = " and ".join(layers)
        maps = teacher.ask(steps.batch.images, layers)
        size = sum(values[0].numel() * values.element_size() for values in maps.values())
        bench.row(case, "MB/image", size / 1e6, ", ".join(sorted({str(values.dtype) for values in maps.values()})))
        bench.row(case, "ms to compute", 1e3 * (in_memory.ask_s or 0.0))
        for where, costs in (("memory", in_memory), ("disk", on_disk)):
            bench.row(case, f"ms to read from {where}", 1e3 * sum(costs.read_s.values()))
            bench.row(case, f"read from {where}", float(costs.is_worth_reading(layers)), "1: read, 0: computed")
