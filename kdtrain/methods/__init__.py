"""Distillation methods: terms (configs of losses), methods (lists of terms), and how both are looked up by name.

`TermInput` and `TermModule`, which need torch, are imported when they are first used.
"""

from typing import TYPE_CHECKING

from kdtrain.lazy_names import lazily
from kdtrain.methods.base import NOT_OPTIONS, Method, Term, options_of
from kdtrain.methods.lookup import AnyTerm, find_term, get_method, parse_term
from kdtrain.methods.registry import METHODS, TERMS

if TYPE_CHECKING:
    from kdtrain.methods.modules.base import TermInput, TermModule

__all__ = [
    "METHODS",
    "NOT_OPTIONS",
    "TERMS",
    "AnyTerm",
    "Method",
    "Term",
    "TermInput",
    "TermModule",
    "find_term",
    "get_method",
    "options_of",
    "parse_term",
]

_MODULES = {
    "TermInput": "kdtrain.methods.modules.base",
    "TermModule": "kdtrain.methods.modules.base",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
