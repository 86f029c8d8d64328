"""Distillation methods: terms (configs of losses), methods (lists of terms), and how both are looked up by name."""

from kdtrain.methods.base import NOT_OPTIONS, Method, Term, TermInput, TermModule, options_of
from kdtrain.methods.lookup import AnyTerm, find_term, get_method, parse_term
from kdtrain.methods.registry import METHODS, TERMS

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
