"""The catalogue of terms and methods."""

from pathlib import Path

import pytest

from kdtrain.field_docs import field_docs
from kdtrain.methods import METHODS, TERMS
from kdtrain.methods.describe import describe_method, describe_term, overview, page

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
STATUSES = ("stated", "secondary", "inferred")


def test_the_page_in_the_docs_is_that_of_the_code():
    assert PAGE.read_text() == page() + "\n", "run: python -m kdtrain.methods.describe > docs/methods.md"


@pytest.mark.parametrize("loss", TERMS)
def test_every_term_says_what_it_is_and_where_it_comes_from(loss):
    term = TERMS[loss]
    assert term.formula
    assert term.source
    assert term.status
    assert all(said.startswith(STATUSES) for said in term.status.values())
    text = describe_term(term)
    assert all(said in text for said in (term.formula, term.source, *term.status.values(), *term.disagreements))
    for name in term.model_fields:
        if name not in ("loss", "name", "weight", "pull", "student_layer", "teacher_layer", "schedule"):
            assert f"| {name} |" in text
            assert field_docs(term).get(name) or name == "temperature", f"{name} needs a docstring"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_shows_its_recipe(name):
    method = METHODS[name]
    text = describe_method(method)
    assert method.citation in text
    assert all(f"× {term.name}" in text for term in method.terms)
    assert all(f"`{path}`" in text for path in method.search)
    assert all(said in text for said in method.notes.values())


def test_the_overview_lists_all():
    assert [name for name, _, _ in overview()] == list(METHODS)
    assert ("cwd", "Channel-wise distillation of the logits", "1 cross_entropy + 3 channel_wise") in overview()
