"""Tiny street scenes, networks and a teacher, for trainings of less than a second."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kdtrain import Machine, TrainConfig, TrainResult
from kdtrain.data import Images, Streets, open_role
from kdtrain.methods import METHODS
from kdtrain.models import Network, build_network
from kdtrain.teacher import ModelCard, save_model

NETWORKS = Path(__file__).parent / "networks"
STREETS = {"name": "streets", "size": (32, 48), "counts": {"train": 16, "select": 6, "test": 2}}
Configs = Callable[..., TrainConfig]
Outcome = Callable[[TrainResult, Path], dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(NETWORKS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def select(cache: Path) -> Images:
    return open_role(Streets.model_validate(STREETS), "select", None, cache)


@pytest.fixture(scope="session")
def teacher(cache: Path, select: Images) -> tuple[Path, ModelCard]:
    """A teacher folder and its card; nobody has trained it."""
    sys.path.insert(0, str(NETWORKS))
    try:
        network = Network(arch="tiny_networks:tiny", options={"width": 10, "dropout": 0.0})
        net = build_network(network, len(select.classes), seed=9).net
    finally:
        sys.path.remove(str(NETWORKS))
    facts: dict[str, object] = {"network": network, "classes": select.classes, "trained_on": "streets"}
    return cache / "teacher", save_model(cache / "teacher", net, facts)


@pytest.fixture
def machine(cache: Path, teacher: tuple[Path, ModelCard]) -> Machine:
    return Machine(cache=cache, teacher=teacher[0], device="cpu", threads=1, weights=None)


@pytest.fixture
def make_config(teacher: tuple[Path, ModelCard]) -> Configs:
    """A config of 4 epochs of 4 steps; `method` names the terms."""

    def make(method: str = "none", **changes: Any) -> TrainConfig:
        terms = [term.model_dump() for term in METHODS[method].terms]
        base: dict[str, Any] = {
            "data": STREETS,
            "augment": {"photometric": 0.2, "scale": (0.8, 1.2)},
            "student": {"arch": "tiny_networks:tiny"},
            "terms": terms,
            "teacher": teacher[1].digest if METHODS[method].needs_teacher else None,
            "epochs": 4,
            "batch_size": 4,
            "optimizer": {"lr": 0.05},
        }
        return TrainConfig.parse(base | changes)

    return make


@pytest.fixture
def outcome() -> Outcome:
    """All that a finished training came to, but for what it took: seconds, and questions to the teacher."""
    not_compared = {"seconds": None, "asked": None, "recorded": None, "replayed": None}

    def of(result: TrainResult, workdir: Path) -> dict[str, Any]:
        assert result.evaluation is not None
        return {
            "state": result.state,
            "reports": [past.to_dict() | not_compared for past in result.reports],
            "evaluation": result.evaluation.to_dict(),
            "weights": (workdir / "student" / "weights.safetensors").read_bytes(),
        }

    return of
