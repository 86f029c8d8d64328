"""Record or ask: seconds to read the teacher's maps beside seconds to compute them, by layer."""

from gpu_rows.bench import Bench


def record_or_ask(bench: Bench) -> None:
    """Not yet."""
