"""The Ray cluster of a sweep: one that runs already, or one of this machine for the time of the sweep."""

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

import ray
from ray._private import ray_constants, services

from analysis.formats import plural
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.launch.address import check_answers, split_address
from sweeps.launch.ray_errors import explained
from sweeps.launch.session_folder import session_folder
from sweeps.spec.settings import Resources

_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's setting that lets a cluster use other interfaces than loopback; Ray reads it when it is imported."""


@contextlib.contextmanager
def cluster(
    address: str | None, stop: StopRequest | None = None, notice: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Connect to a running cluster, or start one on this machine for the time of the block.

    The cluster that is started listens on the loopback interface alone.

    Args:
        address: `host:port`, `auto` for the cluster of this machine, or none to start one.
        stop: A request to stop, which ends the waiting.
        notice: Prints a sentence for the user.

    Raises:
        InputError: If there is no cluster at the address, or none can be started.
        Interrupted: If a stop was requested.
    """
    stop = StopRequest() if stop is None else stop
    if ray.is_initialized():
        if address != "auto":
            raise InputError(str(explained("called ray.init twice")))
        yield
        return
    if address is not None:
        address = _found(address, stop)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _interruptible(stop), on_loopback() if address is None else _as_it_is():
            warnings.simplefilter("ignore")
            notice("starting Ray on this machine" if address is None else f"joining the Ray cluster {address}")
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except (KeyboardInterrupt, Interrupted):
        ray.shutdown()
        raise
    except Exception as error:
        ray.shutdown()
        raise InputError(_cannot_start(address, error)) from error
    with session_folder() if address is None else _as_it_is():
        try:
            if address is None and not (ip := ray.util.get_node_ip_address()).startswith("127."):
                notice(f"warning: the Ray cluster of this sweep listens on {ip}, where other machines may reach it")
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Let a cluster that is started in the block listen on loopback, even if Ray was imported before."""
    before, allowed = os.environ.get(_LOOPBACK), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_LOOPBACK], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = allowed
        if before is None:
            del os.environ[_LOOPBACK]
        else:
            os.environ[_LOOPBACK] = before


def cluster_line() -> str:
    """What the connected cluster has, in words."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (int(sum(node.get(name, 0) for node in nodes)) for name in ("CPU", "GPU"))
    return f"Ray answers: {plural(len(nodes), 'node')} with {plural(cpus, 'CPU')} and {plural(gpus, 'GPU')}"


def check_resources(resources: Resources, on_this_machine: bool) -> None:
    """Check that a node of the connected cluster has what one trial takes.

    Raises:
        InputError: If no node has, unless the spec says how many trials run on a cluster that grows by itself.
    """
    if resources.concurrent is not None:
        return
    demand = {"CPU": resources.cpu, "GPU": resources.gpus_alone}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if problem := no_node_has(demand, nodes, on_this_machine):
        raise InputError(problem)


def no_node_has(demand: dict[str, float], nodes: list[dict[str, float]], on_this_machine: bool) -> str | None:
    """Why no node can run a trial, in one sentence; None if one can."""
    if any(all(amount <= node.get(name, 0) for name, amount in demand.items()) for node in nodes):
        return None
    where = "this machine has" if on_this_machine else "the largest node of the cluster has"
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in demand}
    for name, amount in demand.items():
        if amount > most[name]:
            return (
                f"resources.{name.lower()}: a trial takes {amount:g}, but {where} {most[name]:g}; lower it, or set "
                "resources.concurrent if the cluster grows by itself"
            )
    return (
        f"resources: a trial takes {demand['CPU']:g} CPUs and {demand['GPU']:g} GPUs of one node, which no node of the "
        "cluster has; lower them, or set resources.concurrent if the cluster grows by itself"
    )


def _enable_tokens() -> None:
    """Let Ray use a token where there is one; earlier versions of Ray have none."""
    with contextlib.suppress(ImportError):
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _found(address: str, stop: StopRequest) -> str:
    """The address of a cluster that answers, as Ray takes it."""
    if address == "auto":
        _enable_tokens()  # as Ray does for this address alone
        try:
            check_answers(services.canonicalize_bootstrap_address_or_die("auto"), stop)
        except (ConnectionError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"--address: {explained(str(error)) or kind_and_line(error)}") from None
        return address
    host, port = split_address(address)
    check_answers(address, stop)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_start(address: str | None, error: Exception) -> str:
    known = explained(f"{type(error).__name__}: {error}")
    if address is not None:
        return f"--address: {known or f'the cluster at {address} cannot be joined ({kind_and_line(error)})'}"
    return known or (
        f"Ray cannot be started on this machine ({kind_and_line(error)}); its logs are in session_latest/logs of its "
        "folder in TMPDIR; run with --inline, which needs no Ray"
    )


@contextlib.contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _interruptible(stop: StopRequest) -> Iterator[None]:
    """Let the first Ctrl-C end the block, which Ray would not notice otherwise."""
    if threading.current_thread() is not threading.main_thread() or stop:
        if stop:
            raise Interrupted("before the first trial")
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.ask(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("before the first trial") from None
    finally:
        signal.signal(signal.SIGINT, before)
