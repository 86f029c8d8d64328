"""What Ray says when a cluster cannot be started or joined, in one sentence each, with what to do."""

import re

_TOKEN = (
    "the cluster asks for a token that this process does not have: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH to the token of the cluster (by default it is in ~/.ray/auth_token of its head)"
)
_HOME = "Ray needs a home folder: set HOME to a folder that this user can write, or run with --inline"
_INLINE = "or run with --inline, which needs no Ray"
_SIGNS = (
    (
        r"AF_UNIX path length cannot exceed|AF_UNIX path too long",
        "TMPDIR is too long for the sockets of Ray: set RAY_TMPDIR to a short folder such as /tmp",
    ),
    (r"[Aa]uthentication|UNAUTHENTICATED|Unauthenticated|InvalidAuthToken|auth token", _TOKEN),
    (r"Could not determine home directory|\.ray/auth_token|No username set|getpwuid|uid not found", _HOME),
    (
        r"Version mismatch",
        "",
    ),
    (
        r"exceeds\s+/dev/shm size|/dev/shm has only|No space left on device.*shm|plasma.*(SIGBUS|Bus error)",
        "/dev/shm is too small for Ray: make it larger (docker run --shm-size=1g), or set "
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE=1",
    ),
    (
        r"Address already in use|No available ports|[Ff]ailed to bind|Unable to find a free port|could not find a free",
        f"Ray found no free port: end other Ray clusters of this machine (ray stop), {_INLINE}",
    ),
    (
        r"timed out during startup|Failed to connect to GCS|failed to start|Timed out waiting for file|"
        r"Failed to start|GCS process died|node_ip_address\.json",
        "Ray did not start in time: this machine may be busy or short of memory; run the same command again, "
        f"{_INLINE}",
    ),
    (
        r"Resource temporarily unavailable|can't start new thread|Too many open files|cannot allocate memory|"
        r"Cannot allocate memory",
        f"this machine has too few processes, open files or memory left for Ray: raise the limits (ulimit -u, "
        f"ulimit -n) or end other programs, {_INLINE}",
    ),
    (
        r"No space left on device",
        "the folder of Ray's files is full: make room in it, or set RAY_TMPDIR to another folder",
    ),
    (
        r"Permission denied.*ray|Read-only file system.*ray",
        "Ray cannot write its files: set RAY_TMPDIR to a folder that this user can write",
    ),
    (
        r"called ray\.init twice",
        "this process is connected to a Ray cluster already: give address='auto' to use it, or call ray.shutdown() "
        "first",
    ),
    (
        r"Could not find any running Ray instance",
        "no Ray cluster runs on this machine: start one with ray start --head, or leave --address out",
    ),
    (
        r"Found multiple active Ray instances",
        "several Ray clusters run on this machine: give the host:port of one of them",
    ),
    (
        r"is not on the cluster|Can't find a|No node with|expects this IP address|not found in the cluster|"
        r"There is no node",
        "this machine is no node of the cluster: run the command on one of its nodes (ray job submit, ray exec)",
    ),
)
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)


def explained(said: str) -> str | None:
    """One sentence about what Ray said; None if it is nothing that is known."""
    for sign, sentence in _SIGNS:
        if re.search(sign, said, re.DOTALL):
            return sentence or _version_mismatch(said)
    return None


def _version_mismatch(said: str) -> str:
    advice = "install the versions of the cluster here"
    if (match := _VERSIONS.search(said)) is None:
        return f"the cluster has another version of Ray or Python than this process: {advice}"
    return (
        f"the cluster has Ray {match[1]} and Python {match[2]}, this process has Ray {match[3]} and Python {match[4]}: "
        f"{advice}"
    )
