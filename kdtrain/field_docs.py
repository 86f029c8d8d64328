"""What the docstrings below the fields of a config say: read from its source, and only where a page needs it."""

import ast
import functools
import inspect
import textwrap

from pydantic import BaseModel


@functools.cache
def field_docs(kind: type[BaseModel]) -> dict[str, str]:
    """The docstrings of the fields of a config, each on one line, by name; those of its base classes included.

    A description that was given to `pydantic.Field` has priority. A class without a source file has no docstrings.
    """
    docs: dict[str, str] = {}
    for each in reversed(kind.mro()):
        if issubclass(each, BaseModel) and each is not BaseModel:
            docs |= _written_below(each)
    given = {name: field.description for name, field in kind.model_fields.items() if field.description}
    return {name: " ".join(text.split()) for name, text in {**docs, **given}.items() if name in kind.model_fields}


def _written_below(kind: type[BaseModel]) -> dict[str, str]:
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):  # made in an interactive session
        return {}
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for statement, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[statement.target.id] = inspect.cleandoc(below.value.value)
    return docs
