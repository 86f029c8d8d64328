"""Secrets in texts: keys, tokens and passwords in URIs and in the errors of libraries are never printed or recorded."""

import re

_NAMES = (
    r"secret[_-]?(?:access[_-]?)?key|secret|access[_-]?key(?:[_-]?id)?|(?:session|security|access|auth|sas)[_-]?token|token|"
    r"passw(?:or)?d|passphrase|pwd|sig|signature|x-amz-(?:signature|credential|security-token)|account[_-]?key|"
    r"client[_-]?secret|api[_-]?key|credentials?"
)
_FIELD = re.compile(rf"(?i)(?<![a-z0-9])((?:aws[_-]?|azure[_-]?)?(?:{_NAMES}))(=|%3D)([^&\s'\"<>),;]+)")
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/\s'\"@?#]+|[^/\s'\"@?#:]+:(?!\d+[/?#])[^\s'\"@?#]+)@(?=[^\s/])")
"""User and password before a host; secrets of AWS may hold slashes."""
_TOKENS = re.compile(
    r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}|\b(?:hf_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{12,}|gh[pousr]_[A-Za-z0-9]{20,})"
)
_HIDDEN = "***"


def redacted(text: str) -> str:
    """The text with `***` in place of every secret: `s3://***@bucket/x?secret_key=***`."""
    text = _LOGIN.sub(rf"\1{_HIDDEN}@", text)
    text = _FIELD.sub(rf"\1\2{_HIDDEN}", text)
    return _TOKENS.sub(lambda match: f"{match[1] or ''}{_HIDDEN}", text)


def has_secret(address: str) -> bool:
    """Whether an address holds a key, token or password."""
    return redacted(address) != address
