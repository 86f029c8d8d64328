"""Who has a sweep open: a process of a machine, and whether that process still lives."""

import contextlib
import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import TypedDict

HELD: set[str] = set()
"""Tokens by which this process holds sweeps."""


class Holder(TypedDict):
    """A process that has a sweep open; the token tells apart what one process opens."""

    host: str
    machine: str
    pid: int
    started: str
    """When the process began, in the clock of its machine: another process may have its number later. Empty where the
    machine does not say so."""
    since: str
    token: str
    held: bool
    """Whether it has the sweep for certain: two may try to open it at the same moment."""
    folder: int
    """The inode of the folder of the ledger on a disk, by which a copy of a sweep is known; 0 in an object store."""


def ourselves(token: str, held: bool = True, folder: int = 0) -> Holder:
    """This process."""
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "token": token,
        "held": held,
        "folder": folder,
    }


def machine() -> str:
    """Where a process number means the same process: this boot of this machine, in this container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()}/{uuid.getnode():x}"  # hosts may have equal names


def parse_holder(content: bytes) -> Holder | None:
    """The holder that a file names; none if it names none."""
    try:
        holder = json.loads(content)
    except ValueError:
        return None
    if not isinstance(holder, dict) or not {"host", "pid"} <= holder.keys():
        return None
    return {**unknown_holder(), **holder}


def unknown_holder() -> Holder:
    """Somebody."""
    return {
        "host": "unknown",
        "machine": "unknown",
        "pid": 0,
        "started": "",
        "since": "unknown",
        "token": "",
        "held": True,
        "folder": 0,
    }


def is_dead(holder: Holder) -> bool:
    """Whether the holder was for certain a process of this machine that is no more."""
    if holder["machine"] != machine():
        return False
    if holder["pid"] == os.getpid():
        return holder["token"] not in HELD
    now = _started(holder["pid"])
    return not _exists(holder["pid"]) or bool(now and holder["started"] and now != holder["started"])


def is_alive(holder: Holder) -> bool:
    """Whether the holder is for certain a process of this machine that lives."""
    if holder["machine"] != machine() or is_dead(holder):
        return False
    return bool(holder["started"]) and _started(holder["pid"]) == holder["started"]


def named(holder: Holder) -> str:
    """The holder, in parentheses, for messages."""
    return f"(process {holder['pid']} on {holder['host']}, since {holder['since']})"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """When a process of this machine began, in ticks of its clock; empty if there is none, or it cannot be known."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
