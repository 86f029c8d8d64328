"""Whether a Ray cluster answers at an address, found out in seconds, where Ray itself would wait for minutes."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from kdtrain.errors import InputError
from sweeps.attempt.signals import Interrupted, StopRequest

CONNECT_S = 5.0
"""Seconds for a host to take a connection, and to answer on it."""
GCS_S = 30.0
"""Seconds for a cluster to say that it lives; most of them start the interpreter that asks."""
_POLL_S = 0.1
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What a client of gRPC sends first. A server of gRPC answers with a frame of settings."""
_SETTINGS_FRAME = 4
_ASK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=10)
"""
_FORM = "give host:port, such as 10.0.0.5:6379, or auto for the cluster of this machine"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        InputError: If it has another form.
    """
    scheme, found, _ = address.partition("://")
    if found and scheme == "ray":
        raise InputError(
            f"--address: a sweep cannot be driven over a Ray client such as {address}; run the command on the cluster: "
            "ray job submit -- kdsweep run ... --address auto"
        )
    if found:
        raise InputError(f"--address: must have no scheme, got {address}; {_FORM}")
    if address == "local":
        raise InputError("--address: leave it out to start a cluster on this machine, got local")
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        raise InputError(f"--address: has no port, got {address!r}; {_FORM}")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--address: must be a host and a port from 1 to 65535, got {address!r}; {_FORM}")
    return host, int(port)


def check_answers(address: str, stop: StopRequest) -> None:
    """Check that Ray's GCS answers at `host:port`.

    Raises:
        InputError: If it does not, with the reason.
        Interrupted: If a stop was requested meanwhile.
    """
    host, port = split_address(address)
    reason = _within(lambda: _speaks_grpc(host, port), 3 * CONNECT_S, stop)
    if reason is not None:
        raise InputError(f"--address: no Ray cluster answers at {address} ({reason}); {_FORM}")
    if (reason := _asked(address, stop)) is not None:
        raise InputError(f"--address: {reason}")


def _within(work: Callable[[], str | None], seconds: float, stop: StopRequest) -> str | None:
    """The result of some work in a thread, since resolving a name cannot be interrupted."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(work()), daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        _raise_if_stopped(stop)
        thread.join(_POLL_S)
    return answers[0] if answers else f"no answer within {seconds:.0f} s"


def _speaks_grpc(host: str, port: int) -> str | None:
    """Why the host does not speak gRPC at the port; None if it does."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return f"the name {host} is not known"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
            connection.sendall(_HTTP2)
            header = b""
            while len(header) < 9 and (part := connection.recv(9 - len(header))):
                header += part
    except TimeoutError:
        return f"no answer within {CONNECT_S:.0f} s"
    except OSError as error:
        return str(error.strerror or error)
    return None if len(header) == 9 and header[3] == _SETTINGS_FRAME else "something else than Ray listens there"


def _asked(address: str, stop: StopRequest) -> str | None:
    """Ask the GCS in a process of its own, since the client in Ray waits long; returns what is wrong."""
    command = [sys.executable, "-c", _ASK, address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + GCS_S
        try:
            while process.poll() is None and time.monotonic() < until:
                _raise_if_stopped(stop)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read()
    if process.returncode == 0:
        return None
    from sweeps.launch.ray_errors import explained

    return explained(said) or f"no Ray cluster answers at {address} (something else than Ray's GCS listens); {_FORM}"


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop:
        raise Interrupted("before the first trial")
