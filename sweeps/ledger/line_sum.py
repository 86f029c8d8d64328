"""The checksum at the end of a line of the ledger."""

import hashlib


def checked(line: bytes) -> bytes:
    """The JSON object of a line that ends with its checksum.

    Raises:
        ValueError: If the checksum does not match.
    """
    line = line.removesuffix(b"\n")
    body, end = line[:-_CHECKSUM_LENGTH] + b"}", line[-_CHECKSUM_LENGTH:]
    if end != checksum(body):
        raise ValueError("the checksum does not match")
    return body


def checksum(body: bytes) -> bytes:
    """The end of a line in place of the last brace of its JSON object."""
    return b',"sum":"%s"}' % hashlib.sha256(body).hexdigest()[:12].encode()


_CHECKSUM_LENGTH = len(checksum(b""))
