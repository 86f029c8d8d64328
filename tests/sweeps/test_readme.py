"""The modules and specs that README.md, docs/extending.md and docs/data.md show work as they stand there."""

import pytest
import yaml
from doc_pages import BLOCKS

from kdtrain.testing import check_data, check_loss, check_method
from sweeps.spec.spec import parse_spec


def block(language, start):
    return next(block.text for block in BLOCKS if block.language == language and block.text.startswith(start))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """The modules of the pages can be imported."""
    for each in (block for block in BLOCKS if block.module):
        (tmp_path / each.module).write_text(each.text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("modules")
def test_the_loss_of_somebody_else_passes_the_checks_and_is_searched(fake):
    check_loss("my_loss:Cosine", power=2)
    check_method("my_loss:COSINE_KD")
    studies = yaml.safe_load(block("yaml", 'studies:\n  - none\n  - "my_loss'))["studies"]
    spec = fake.make_spec(studies=studies)
    assert [study.name for study in spec.studies] == ["none", "cosine_kd", "mine"]
    assert "terms.cosine.weight" in spec.space_of(spec.studies[1])


@pytest.mark.usefixtures("modules")
def test_the_data_set_of_somebody_else_passes_the_checks():
    check_data(yaml.safe_load(block("yaml", "data: {name: my_data:Stripes"))["data"])


def test_the_spec_of_the_readme_is_a_spec():
    assert parse_spec(yaml.safe_load(block("yaml", "name: mine"))).name == "mine"
