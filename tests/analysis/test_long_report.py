"""A report over thousands of trials stays small, by the tables that `benchmarks/report.py` makes up."""

import importlib.util
from pathlib import Path

import pytest

from analysis.report.sweep_report import write_report

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "report.py"
BYTES = 1_500_000


@pytest.mark.slow
def test_the_page_of_a_long_sweep_over_many_parameters_is_small(tmp_path):
    """The page shows as many runs, lines and dots of 600 trials as of 10,000."""
    spec = importlib.util.spec_from_file_location("benchmark_of_the_report", SCRIPT)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    weight = {"low": 0.1, "high": 30.0, "log": True}
    benchmark.PARAMETERS.update({f"terms.loss_number_{number}.weight": weight for number in range(7)})
    benchmark.write_sweep(tmp_path, trials=600, epochs=45)
    assert write_report(tmp_path).stat().st_size < BYTES
