"""Replays whole search procedures on the table of real trainings `benchmarks/kdbench`."""
