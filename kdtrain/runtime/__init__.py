"""Processes, random streams and files: knows nothing of distillation."""
