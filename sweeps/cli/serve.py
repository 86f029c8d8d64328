"""The command `kdsweep serve`."""

import signal
from typing import Annotated

import typer

from kdtrain.errors import InputError
from sweeps.cli.options import console, folder_or_uri, number


def serve(
    sweeps: Annotated[
        list[str],
        typer.Argument(metavar="D...", help="The sweeps: folders or URIs.", parser=folder_or_uri),
    ],
    port: Annotated[
        int, typer.Option(help="The port on 127.0.0.1; 0 for any free one.", callback=number(0, 65535))
    ] = 0,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the ledgers.", callback=number(0.1))] = 5.0,
) -> None:
    """Show one sweep or many in a browser, while they run or after, until Ctrl-C; nothing is written.

    The page is on this machine alone, and opens with the printed address alone, which holds a token.

    Example: [bold]kdsweep serve runs/camvid runs/voc --port 8300[/]
    """
    from sweeps.show.served import ServedSweep
    from sweeps.show.server import HOST, Server
    from sweeps.store.store import check_address

    for sweep in sweeps:
        check_address(sweep)
    served = [ServedSweep(sweep, every) for sweep in sweeps]
    try:
        server = Server(served, port)
    except OSError as error:
        raise InputError(f"--port: {HOST}:{port} cannot be used ({error.strerror}); give another one, or 0") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print(f"{server.url}\nCtrl-C ends it.")
    for shown in served:
        if problem := shown.glance().error:
            console.print(f"note: {problem}; the page shows the sweep once it can be read", markup=False)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("ended")
