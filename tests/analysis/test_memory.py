import math

import pytest

from analysis.conditions.memory import advice, memory

GIB = 2**30


@pytest.mark.parametrize(
    ("peak_gib", "total_gib", "fit", "fraction"),
    [
        (2, 10, 3, 0.3),  # 3 x (2.2 + 0.5) = 8.1
        (5, 80, 13, 0.076),  # 13 x 6.0 = 78
        (0.5, 80, 76, 0.013),
        (6, 10, 1, 1.0),
        (9.9, 10, 1, 1.0),  # no room to spare, but it ran
    ],
)
def test_advice_leaves_room_for_a_tenth_and_the_context(peak_gib, total_gib, fit, fraction):
    usage = advice(peak_gib * GIB, total_gib * GIB)
    assert (usage.fit, usage.fraction) == (fit, fraction)


def test_the_fraction_lets_so_many_run_and_not_one_more():
    for fit in range(1, 400):
        fraction = advice(0, fit * GIB / 2).fraction
        assert fit * fraction <= 1 < (fit + 1) * fraction


def on_gpu(sweep, **fields):
    sweep.rows["environments"][0].update(
        device="cuda", device_name="Big GPU", gpu_memory_bytes=80 * GIB, processes=1, **fields
    )


def test_memory_is_the_highest_peak_of_each_study(sweep):
    on_gpu(sweep)
    for number, trial in enumerate(sweep.rows["trials"]):
        trial["peak_memory_bytes"] = (4 if trial["study"] == "cwd" else 2) * GIB + number
    usage = memory(sweep.tables()).set_index("study")
    assert list(usage.index) == ["none", "cwd"]
    assert usage.loc["cwd", "peak_memory_bytes"] == 4 * GIB + 9
    assert usage.loc["cwd", "share"] == pytest.approx(0.05)
    assert usage["fit"].tolist() == [29, 16]
    assert usage["gpu"].tolist() == ["Big GPU"] * 2


def test_the_smallest_gpu_counts(sweep):
    on_gpu(sweep)
    small = {**sweep.rows["environments"][0], "environment_id": "e2", "gpu_memory_bytes": 10 * GIB}
    sweep.rows["environments"].append({**small, "device_name": "Small GPU"})
    for trial in sweep.rows["trials"]:
        trial["peak_memory_bytes"] = 2 * GIB
    sweep.rows["trials"][0]["environment_id"] = "e2"
    usage = memory(sweep.tables()).set_index("study").loc["none"]
    assert (usage["fit"], usage["fraction"], usage["gpu"]) == (3, 0.3, "Big GPU, Small GPU")


def test_trials_on_several_gpus_get_no_advice(sweep):
    on_gpu(sweep)
    sweep.rows["environments"][0]["processes"] = 2
    sweep.rows["trials"][0]["peak_memory_bytes"] = GIB
    usage = memory(sweep.tables()).iloc[0]
    assert usage["trials"] == 1
    assert math.isnan(usage["fit"])
    assert math.isnan(usage["fraction"])


def test_nothing_on_a_cpu(tables):
    assert memory(tables).empty
