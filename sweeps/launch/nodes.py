"""Whether every node of a cluster sees the sweep's folder and runs the same software."""

import secrets
from collections.abc import Callable, Mapping

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kdtrain import Machine
from kdtrain.errors import InputError
from sweeps.ledger.environment import describe_environment
from sweeps.store.store import Store

_SOFTWARE = ("kdsweep_version", "code_digest", "python", "torch")
_PATIENCE_S = 120.0


def check_nodes(sweep: Store, say: Callable[[str], None]) -> None:
    """Have every node of the connected cluster read what this process wrote, and write what it can read.

    Nodes that join later are not checked; their trials fail with the same message.

    Raises:
        InputError: If a node does not see the sweep's folder, or runs other software than the driver.
    """
    token = secrets.token_hex(8)
    ours, key = describe_environment(Machine()), f"probe-{token}"
    sweep.write(key, token.encode())
    answers = {}
    for node in ray.nodes():
        if node["Alive"]:
            look = _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            answer_key = f"{key}-{node['NodeID'][:8]}"
            answers[node["NodeManagerHostname"], answer_key] = look.remote(sweep, key, answer_key)
    try:
        for (host, answer_key), answer in answers.items():
            try:
                seen = ray.get(answer, timeout=_PATIENCE_S)
            except Exception as error:
                last = str(error).strip().splitlines()[-1]
                raise InputError(
                    f"address: the node {host} cannot take part ({last}); is kdsweep installed there?"
                ) from None
            _check(sweep, host, token, seen, ours)
            if seen["wrote"] and not sweep.exists(answer_key):
                raise InputError(_unseen(sweep, host))
    finally:
        for name in sweep.names(""):
            if name.startswith(key):
                sweep.delete(name)
    say(f"cluster: {len(answers)} node{'s' * (len(answers) > 1)} see {sweep}")


@ray.remote(num_cpus=0)
def _look(sweep: Store, key: str, answer_key: str) -> dict[str, object]:
    """What a node sees of the sweep's folder, and the software that it runs."""
    try:
        read: str | None = sweep.read(key).decode()
        sweep.write(answer_key, b"\0")
        trouble = ""
    except (OSError, InputError) as error:
        read, trouble = None, str(error)
    environment = describe_environment(Machine())
    return {
        "read": read,
        "wrote": not trouble,
        "trouble": trouble,
        **{name: environment.get(name) for name in _SOFTWARE},
    }


def _check(sweep: Store, host: str, token: str, seen: Mapping[str, object], ours: Mapping[str, object]) -> None:
    if seen["read"] != token:
        raise InputError(_unseen(sweep, host, str(seen["trouble"])))
    for name in _SOFTWARE:
        if seen[name] != ours.get(name):
            raise InputError(
                f"address: the node {host} has {name} {seen[name]}, this driver {ours.get(name)}; "
                "install the same on every node"
            )


def _unseen(sweep: Store, host: str, trouble: str = "") -> str:
    why = f" ({trouble})" if trouble else ""
    return (
        f"--dir: the node {host} does not see {sweep}{why}; put it on storage that every node mounts under the same "
        "path, or in an object store (s3://...)"
    )
