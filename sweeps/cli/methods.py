"""The command `kdsweep methods`."""

from typing import Annotated

import typer

from sweeps.cli.options import Trust, console


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or a term; by default all methods.")] = None,
    trust: Trust = False,
) -> None:
    """List the distillation methods, or describe one: formula, source, status, defaults, search ranges.

    Example: [bold]kdsweep methods cwd[/]
    """
    from rich.table import Table

    from kdtrain import foreign
    from kdtrain.foreign import LOSSES, ignored_offers
    from kdtrain.methods import METHODS, TERMS
    from kdtrain.methods.describe import describe, offers, overview

    if name is not None:
        from rich.markdown import Markdown

        console.print(Markdown(describe(name)), soft_wrap=False)
        return
    table = Table("method", "what it is", "terms with their published weights", box=None, header_style="bold")
    for row in overview():
        table.add_row(*row)
    console.print(table, soft_wrap=False)
    for offered, reference in offers():
        console.print(f"installed: {offered} ({reference})")
    for ignored in (*ignored_offers(TERMS, LOSSES), *ignored_offers(METHODS, foreign.METHODS)):
        console.print(ignored)
    console.print("\nMore about a method or a term: kdsweep methods cwd")
