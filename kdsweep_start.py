"""The start of the command `kdsweep`, outside of its packages, so that it runs even if a module hides one of them."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the command line, unless a user's own module hides one of its packages; that is one line and exit code 2."""
    check = runpy.run_path(str(Path(__file__).resolve().with_name("sweeps") / "packages.py"))
    if problem := check["hidden_package"]():
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    from sweeps.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
