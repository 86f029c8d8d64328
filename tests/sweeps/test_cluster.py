"""The Ray cluster of a sweep: what is said where none answers or none can be started, and where it listens."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from listening import family, is_loopback, listens_on
from sweep_command import NETWORK, Command, streets

from kdtrain.errors import InputError
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.launch import address as addresses
from sweeps.launch.address import check_answers, split_address
from sweeps.launch.cluster import cluster, no_node_has
from sweeps.launch.ray_errors import explained


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.0.0.5", "has no port, got '10.0.0.5'; give host:port"),
        ("ray-head", "has no port"),
        ("::1", "has no port"),
        ("", "has no port"),
        ("host:", "must be a host and a port from 1 to 65535"),
        (":6379", "must be a host and a port"),
        ("host:0", "must be a host and a port"),
        ("host:70000", "must be a host and a port"),
        ("host:63x9", "must be a host and a port"),
        ("ray://10.0.0.5:10001", "cannot be driven over a Ray client"),
        ("http://10.0.0.5:8265", "must have no scheme"),
        ("local", "leave it out to start a cluster on this machine"),
    ],
)
def test_an_address_of_another_form_is_one_sentence(address, said):
    with pytest.raises(InputError, match=said) as error:
        split_address(address)
    assert str(error.value).startswith("--address: ")
    assert "\n" not in str(error.value)


def test_addresses_of_the_right_form():
    assert split_address("10.0.0.5:6379") == ("10.0.0.5", 6379)
    assert split_address("[fe80::1]:6379") == ("fe80::1", 6379)


class Web(BaseHTTPRequestHandler):
    def log_message(self, *words):
        """Says nothing."""


@contextlib.contextmanager
def silent():
    """A server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@contextlib.contextmanager
def nobody():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


@contextlib.contextmanager
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.parametrize(
    ("server", "said"),
    [(silent, "no answer within"), (nobody, "Connection refused"), (web, "something else than Ray listens there")],
)
def test_what_is_no_cluster_is_found_out_in_seconds(monkeypatch, server, said):
    monkeypatch.setattr(addresses, "CONNECT_S", 0.3)
    began = time.monotonic()
    with server() as port, pytest.raises(InputError, match=f"no Ray cluster answers at 127.0.0.1:{port} .*{said}"):
        check_answers(f"127.0.0.1:{port}", StopRequest())
    assert time.monotonic() - began < 3


def test_a_name_that_is_not_known_is_said(monkeypatch):
    def unknown(*words, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"no Ray cluster answers at head:6379 .the name head is not known"):
        check_answers("head:6379", StopRequest())


@pytest.mark.parametrize("hangs", ["name", "host", "gcs"])
def test_one_request_ends_the_wait_for_a_cluster(monkeypatch, hangs):
    stop = StopRequest()
    threading.Timer(0.3, stop.ask, [signal.SIGINT]).start()
    if hangs == "name":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: time.sleep(5))
    if hangs == "gcs":
        monkeypatch.setattr(addresses, "_speaks_grpc", lambda host, port: None)
        monkeypatch.setattr(addresses, "_ASK", "import time; time.sleep(60)")
    began = time.monotonic()
    with silent() as port, pytest.raises(Interrupted, match="before the first trial"):
        check_answers(f"127.0.0.1:{port}", stop)
    assert time.monotonic() - began < 2


def test_a_gcs_that_refuses_is_explained(monkeypatch):
    monkeypatch.setattr(addresses, "_speaks_grpc", lambda host, port: None)
    monkeypatch.setattr(addresses, "_ASK", "raise SystemExit('InvalidAuthToken: Authentication token is missing')")
    with pytest.raises(InputError, match=r"the cluster asks for a token .*RAY_AUTH_TOKEN"):
        check_answers("127.0.0.1:1", StopRequest())


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.40.0
    Python: 3.12.1
This process on 10.0.0.4 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /tmp/x", "set RAY_TMPDIR to a"),
        ("AuthenticationError: Token authentication is enabled but no token", "RAY_AUTH_TOKEN"),
        ("RuntimeError: Could not determine home directory.", "set HOME"),
        ("OSError: [Errno 30] Read-only file system: '/home/u/.ray/auth_token'", "Ray needs a home folder: set HOME"),
        ("Exception: The current node timed out during startup. This could happen", "Ray did not start in time"),
        ("ValueError: The configured object store size (9 GB) exceeds /dev/shm size (0.06 GB)", "--shm-size=1g"),
        ("OSError: [Errno 98] Address already in use", "Ray found no free port"),
        ("RuntimeError: can't start new thread", "ulimit -u"),
        ("OSError: [Errno 28] No space left on device: '/tmp/ray/session'", "set RAY_TMPDIR to another folder"),
        (MISMATCH, "has Ray 2.40.0 and Python 3.12.1, this process has Ray 2.60.0 and Python 3.11.7: install"),
        ("ConnectionError: Could not find any running Ray instance. Please", "ray start --head"),
        ("ConnectionError: Found multiple active Ray instances: {'a', 'b'}.", "give the host:port of one of them"),
    ],
)
def test_what_ray_says_is_one_sentence_with_a_remedy(monkeypatch, said, sentence):
    def init(**options):
        raise RuntimeError(said)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(InputError) as error, cluster(None):
        pass
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_known_is_one_sentence_too(monkeypatch):
    def init(**options):
        raise ValueError("something new\nwith details")

    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(InputError, match=r"cannot be started .*ValueError: something new.*--inline") as error,
        cluster(None),
    ):
        pass
    assert "\n" not in str(error.value)
    assert explained("something new") is None


def test_a_request_while_ray_starts_ends_it(monkeypatch):
    def init(**options):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr("ray.init", init)
    stop, before = StopRequest(), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="before the first trial"), cluster(None, stop):
        pass
    assert stop.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_that_is_connected_uses_its_cluster_if_it_says_so(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.shutdown", lambda: pytest.fail("the cluster is not ours"))
    with cluster("auto"):
        pass
    with pytest.raises(InputError, match="connected to a Ray cluster already: give address='auto'"), cluster(None):
        pass


@pytest.mark.parametrize(
    ("demand", "nodes", "said"),
    [
        ({"CPU": 2, "GPU": 0}, [{"CPU": 2.0}], None),
        ({"CPU": 8, "GPU": 0}, [{"CPU": 4.0}, {"CPU": 4.0}], "resources.cpu: a trial takes 8, but the largest node"),
        (
            {"CPU": 1, "GPU": 1},
            [{"CPU": 4.0}],
            "resources.gpu: a trial takes 1, but the largest node of the cluster has 0",
        ),
        (
            {"CPU": 8, "GPU": 1},
            [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}],
            "8 CPUs and 1 GPUs of one node, which no node",
        ),
        ({"CPU": 1, "GPU": 0}, [], "the largest node of the cluster has 0"),
    ],
)
def test_resources_that_no_node_can_give_are_said_at_once(demand, nodes, said):
    problem = no_node_has(demand, nodes, on_this_machine=False)
    assert problem is None if said is None else said in problem


SPEC = {
    "name": "ports",
    "data": streets(train=8, select=4),
    "student": NETWORK,
    "train": {"epochs": 30, "batch_size": 4},
    "studies": ["none"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 40},
    "confirm": {"top": 0},
}


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_listens_on_loopback_alone(tmp_path):
    command = Command(tmp_path, SPEC, str(tmp_path / "D"), forked=False)
    process = command.start_and_await(8)
    try:
        found = listens_on(family(process.pid))
        assert len(found) > 5, "Ray has more ports than that"
        assert all(map(is_loopback, found)), found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_listens_on_loopback_alone_even_if_ray_was_imported_before():
    script = """
import os, ray
from listening import family, listens_on
from sweeps.launch.cluster import cluster
with cluster(None):
    ray.get(ray.remote(lambda: 1).remote())
    print(*listens_on(family(os.getpid())))
"""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    found = done.stdout.split()
    assert len(found) > 5, done.stderr
    assert all(map(is_loopback, found)), found


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_of_this_machine_is_found_and_one_with_another_token_is_not(tmp_path):
    script = """
import ray, sys
from sweeps.launch.cluster import cluster
from sweeps.launch.address import check_answers
from sweeps.attempt.signals import StopRequest
with cluster(None):
    address = ray.get_runtime_context().gcs_address
    check_answers(address, StopRequest())
    import os
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", "another" * 8
    try:
        check_answers(address, StopRequest())
    except ValueError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=200)
    assert "the cluster asks for a token" in done.stdout, done.stdout + done.stderr
