"""What README.md and docs/extending.md show works as it stands there."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from kdtrain.testing import check_loss, check_method
from sweeps.spec.spec import parse_spec

ROOT = Path(__file__).parents[2]
TEXT = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/extending.md"))


def block(language, start):
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return next(text for text in blocks if text.startswith(start))


@pytest.fixture
def my_loss(tmp_path, monkeypatch):
    (tmp_path / "my_loss.py").write_text(block("python", "# my_loss.py"))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_loss", None)


@pytest.mark.usefixtures("my_loss")
def test_the_loss_of_somebody_else_passes_the_checks_and_is_searched(fake):
    check_loss("my_loss:Cosine", power=2)
    check_method("my_loss:COSINE_KD")
    studies = yaml.safe_load(block("yaml", 'studies:\n  - none\n  - "my_loss'))["studies"]
    spec = fake.make_spec(studies=studies)
    assert [study.name for study in spec.studies] == ["none", "cosine_kd", "mine"]
    assert "terms.cosine.weight" in spec.space_of(spec.studies[1])


def test_the_spec_of_the_readme_is_a_spec():
    assert parse_spec(yaml.safe_load(block("yaml", "name: mine"))).name == "mine"
