"""What all sections share: sizes, networks, configs and machines, and the rows that they write."""

import importlib.util
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from kdtrain import EpochReport, Machine, TrainConfig
from kdtrain.config import Replay
from kdtrain.methods import METHODS
from kdtrain.models import Network, build_network
from kdtrain.teacher import read_card, save_model

ROWS, TEACHER = "rows.jsonl", "teacher"
APART = ("evaluate", "gradients")
"""Parts of an epoch's seconds that are no training steps."""
NETWORKS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "smp": (
        {"arch": "DeepLabV3Plus", "encoder": "tu-mobilenetv2_050"},
        {"arch": "DeepLabV3Plus", "encoder": "resnet50"},
    ),
    "torchvision": ({"arch": "gpu_rows.networks:student"}, {"arch": "gpu_rows.networks:teacher"}),
    "tiny": ({"arch": "gpu_rows.networks:tiny"}, {"arch": "gpu_rows.networks:tiny", "options": {"width": 16}}),
}
"""Student and teacher."""


@dataclass(frozen=True)
class Row:
    """One figure, or one sentence about a figure that there is not.

    Attributes:
        section: The section that measured it.
        case: What was measured.
        metric: Which figure of it.
        value: The figure; None where there is none.
        note: What a reader must know.
    """

    section: str
    case: str
    metric: str
    value: float | None
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """A run of the script.

    Attributes:
        folder: Where rows, teacher and caches lie.
        device: `cuda` or `cpu`.
        networks: A key of `NETWORKS`.
        image: Height and width of images and crops.
        batch: Images in a batch.
        steps: Batches in an epoch.
        epochs: Epochs of a training; the first one warms up.
        window_s: Seconds in which steps on one batch are counted.
        methods: The methods that are compared with `none`.
        students: Students at once on one card.
        threads: CPU threads of torch.
        section: The section that runs; its rows bear its name.
        out: Where rows are written; `folder` by default.
    """

    folder: Path
    device: str
    networks: str
    image: tuple[int, int] = (360, 480)
    batch: int = 16
    steps: int = 12
    epochs: int = 3
    window_s: float = 3.0
    methods: tuple[str, ...] = ("kd", "cwd", "csc_ace", "cskd")
    students: tuple[int, ...] = (1, 2, 4, 8)
    threads: int = 4
    section: str = field(default="", compare=False)
    out: Path | None = None

    @classmethod
    def read(cls, folder: Path) -> "Bench":
        """The run that `write` has described."""
        facts = json.loads((folder / "bench.json").read_text())
        tuples = {name: tuple(facts[name]) for name in ("image", "methods", "students")}
        out = Path(facts["out"]) if facts["out"] else None
        return cls(**{**facts, **tuples, "folder": folder, "out": out})

    def write(self) -> None:
        """Describe the run for the processes of its sections."""
        (self.folder / "bench.json").write_text(json.dumps(asdict(self), default=str))

    @property
    def images(self) -> int:
        """Images of the role train."""
        return self.batch * self.steps

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"

    def row(self, case: str, metric: str, value: float | None, note: str = "") -> None:
        """Write a figure at once, so that whatever happens later leaves it."""
        row = Row(self.section, case, metric, value, note)
        with self._rows_file.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(f"{self.section}: {case}: {metric} {'-' if value is None else f'{value:.4g}'} {note}", flush=True)

    def rows(self) -> list[Row]:
        """The figures so far."""
        file = self._rows_file
        return [Row(**json.loads(line)) for line in file.read_text().splitlines()] if file.is_file() else []

    @property
    def _rows_file(self) -> Path:
        return (self.out or self.folder) / ROWS

    def machine(self, **changes: Any) -> Machine:
        """The machine of all trainings."""
        facts = {
            "device": self.device,
            "threads": self.threads,
            "cache": self.folder / "cache",
            "teacher": self.folder / TEACHER,
            "weights": None,
        }
        return Machine.model_validate(facts | changes)

    def replay(self, method: str) -> Replay:
        """The store of a method, one for each, so that each records what it needs."""
        return Replay(folder=self.folder / "replay" / method)

    def config(self, method: str, **changes: Any) -> TrainConfig:
        """A short training of one method."""
        needs_teacher = METHODS[method].needs_teacher
        facts: dict[str, Any] = {
            "data": {
                "name": "streets",
                "size": self.image,
                "counts": {"train": self.images, "select": self.batch, "test": 1},
            },
            "augment": {"crop": self.image, "scale": (0.8, 1.2), "photometric": 0.2},
            "student": NETWORKS[self.networks][0] | {"weights": "none"},
            "terms": [term.model_dump() for term in METHODS[method].terms],
            "teacher": self.make_teacher() if needs_teacher else None,
            "epochs": self.epochs,
            "evaluate_every": self.epochs,
            "batch_size": self.batch,
        }
        return TrainConfig.parse(facts | changes)

    def make_teacher(self) -> str:
        """The digest of the teacher, with random weights; made by whoever needs it first."""
        folder = self.folder / TEACHER
        if not (folder / "model.json").is_file():
            classes = tuple(TrainConfig().data.open(None).classes)
            network = Network.model_validate(NETWORKS[self.networks][1] | {"weights": "none"})
            facts: dict[str, object] = {"network": network, "classes": classes, "trained_on": "nothing"}
            save_model(folder, build_network(network, len(classes), seed=1).net, facts)
        return read_card(folder).digest

    def images_per_second(self, reports: tuple[EpochReport, ...]) -> float:
        """Images per second of the fastest epoch but the first, without evaluation and measured gradients."""
        own = [past.seconds["total"] - sum(past.seconds.get(part, 0.0) for part in APART) for past in reports[1:]]
        return self.images / min(own)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()


class Busy:
    """The mean share of a window in which the device was busy, in percent; see `busy`."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    @property
    def percent(self) -> float | None:
        """The mean; None if nothing was sampled."""
        return sum(self.samples) / len(self.samples) if self.samples else None


@contextmanager
def busy(bench: Bench, every_s: float = 0.2) -> Iterator[Busy]:
    """Sample how busy the device is within the block: NVML's utilization of a GPU, the process's share of a CPU."""
    use, over = Busy(), threading.Event()
    if not bench.on_gpu:
        wall, own = time.perf_counter(), time.process_time()
        yield use
        use.samples.append(100 * (time.process_time() - own) / (time.perf_counter() - wall))
        return
    if importlib.util.find_spec("pynvml") is None:
        yield use
        return

    def sample() -> None:
        while not over.wait(every_s):
            use.samples.append(float(torch.cuda.utilization()))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield use
    finally:
        over.set()
        thread.join()
