"""Which addresses the processes of a command listen on, from the files of the kernel."""

import ipaddress
import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(folder.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def listens_on(processes: list[int]) -> list[str]:
    """The addresses of all TCP sockets on which the processes listen."""
    inodes = set()
    for process in processes:
        with suppress(OSError):
            for handle in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    inodes |= set(re.findall(r"^socket:\[(\d+)\]$", str(handle.readlink())))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                found.append(_address(fields[1].partition(":")[0]))
    return found


def _address(text: str) -> str:
    """An address as the kernel writes it: words of 4 bytes in the order of the machine."""
    words = bytes.fromhex(text)
    content = b"".join(words[i : i + 4][:: -1 if sys.byteorder == "little" else 1] for i in range(0, len(words), 4))
    address = socket.inet_ntop(socket.AF_INET if len(content) == 4 else socket.AF_INET6, content)
    return address.removeprefix("::ffff:")


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


if __name__ == "__main__":
    print(*listens_on(family(int(sys.argv[1]) if len(sys.argv) > 1 else os.getpid())))
