"""The command line."""

from sweeps.cli.app import app, main

__all__ = ["app", "main"]
