"""A sweep made by hand: the tables that a ledger would give, with every number known."""

import datetime as dt
import json
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.tables.files import SCHEMAS, with_assumed, write_table
from analysis.tables.query import query

CAMVID = {
    "Sky": "#808080",
    "Building": "#800000",
    "Pole": "#c0c080",
    "Road": "#804080",
    "Pavement": "#3c28de",
    "Tree": "#808000",
    "SignSymbol": "#c08080",
    "Fence": "#404080",
    "Car": "#400080",
    "Pedestrian": "#404000",
    "Bicyclist": "#0080c0",
}
START = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)


class Sweep:
    """Rows of all tables, built study by study and trial by trial."""

    def __init__(self, classes=("road", "car"), palette=("#804080", "#400080"), **fields):
        self.rows = {name: [] for name in SCHEMAS}
        self.clock = START
        self.classes = list(classes)
        self.rows["sweeps"].append(
            {
                "sweep_id": "s1",
                "name": "hand-made",
                "created_at": START,
                "kdsweep_version": "0.1.0",
                "objective": "select/miou",
                "direction": "maximize",
                "seed": 7,
                "sampler": "tpe",
                "scheduler": "halving",
                "budget_trials": 3,
                "confirm_top": 1,
                "confirm_seeds": 2,
                "baseline": "none",
                "purpose": "search",
                "spec_json": "{}",
                "data_name": "camvid",
                "num_classes": len(self.classes),
                "classes": self.classes,
                "palette": list(palette),
                "finished": True,
                **fields,
            }
        )
        self.rows["environments"].append(
            {
                "environment_id": "e1",
                "python": "3.11.7",
                "torch": "2.15.0",
                "ray": "2.60.0",
                "platform": "Linux",
                "device": "cpu",
                "num_threads": 1,
                "versions_json": "{}",
                "kdsweep_version": "0.1.0",
            }
        )

    def study(self, name, *, space=None, is_baseline=False, **fields):
        space = space if space is not None else {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}
        self.rows["studies"].append(
            {
                "sweep_id": "s1",
                "study": name,
                "method": name,
                "scientific_json": json.dumps({"method": name}),
                "space_json": json.dumps(space),
                "searched_parameters": len(space),
                "budget_trials": 3,
                "spent_trials": 3,
                "spent_epochs": 6,
                "spent_s": 60.0,
                "is_baseline": is_baseline,
                "repeats": 1,
                **fields,
            }
        )

    def trial(self, study, score, *, seed=7, of=None, params=None, curve=None, iou=None, **fields):
        """One trial; ``of`` is the search trial that it confirms; ``curve`` the mIoU of every epoch."""
        number = sum(trial["study"] == study for trial in self.rows["trials"])
        trial_id = f"{study}-{number}"
        origin = next((t for t in self.rows["trials"] if t["trial_id"] == of), None)
        epochs = len(curve) if curve else 2
        begin, self.clock = self.clock, self.clock + dt.timedelta(seconds=10 * epochs)
        trial = {
            "sweep_id": "s1",
            "trial_id": trial_id,
            "study": study,
            "number": number,
            "phase": "confirm" if of else "search",
            "search": origin["search"] if origin else 1,
            "candidate_of": of,
            "config_id": origin["config_id"] if origin else f"{study}-config-{number}",
            "seed": seed,
            "state": "complete" if score is not None else "failed",
            "attempts": 1,
            "epochs_planned": epochs,
            "epochs_run": epochs,
            "started_at": begin,
            "ended_at": self.clock,
            "seconds": 10.0 * epochs,
            "score": score,
            "params": 500_000,
            "macs": 10**9,
            "latency_ms": 12.5,
            "latency_device": "cpu",
            "environment_id": "e1",
            "config_json": json.dumps({"method": study, "number": number, "seed": seed}),
            **fields,
        }
        self.rows["trials"].append(trial)
        for name, value in (params or {}).items():
            number_ = float(value) if isinstance(value, int | float) else None
            row = {"name": name, "value_json": json.dumps(value), "value": number_, "role": "nuisance"}
            self.rows["params"].append({"sweep_id": "s1", "trial_id": trial_id, **row})
        for epoch, miou in enumerate(curve or ([score / 2, score] if score is not None else []), start=1):
            row = {"sweep_id": "s1", "trial_id": trial_id, "epoch": epoch, "name": "miou", "value": miou}
            self.rows["metrics"].append(row)
        if score is not None:
            self.evaluation(trial_id, score, iou or [score] * len(self.classes))
        return trial_id

    def evaluation(self, trial_id, miou, iou, role="select"):
        lists = dict.fromkeys(("iou", "precision", "recall", "f1"), iou)
        row = {"eval_id": f"{trial_id}/{role}", "trial_id": trial_id, "epoch": 2, "role": role}
        numbers = {"data_digest": "d", "n_images": 101, "miou": miou, "pixel_accuracy": 0.9}
        self.rows["evaluations"].append({"sweep_id": "s1", **row, **numbers, **lists})

    def teacher(self, miou, **fields):
        row = {"digest": "abcdef0123456789", "name": "big", "arch": "deeplabv3plus", "encoder": "resnet50"}
        more = {"role": "select", "miou": miou, "params": 26_700_000, "source": "fitted", "seconds": 300.0}
        iou = [miou] * len(self.classes)
        self.rows["teachers"].append({"sweep_id": "s1", **row, **more, "iou": iou, **fields})

    def cell(self, cell, role, factor=None, level=None):
        row = {"design": "leave-one-out", "cell": cell, "role": role, "factor": factor, "level": level}
        self.rows["cells"].append({"sweep_id": "s1", **row, "family": "leave-one-out"})

    def tables(self):
        made = {name: pa.Table.from_pylist(self.rows[name], schema) for name, schema in SCHEMAS.items()}
        return {name: with_assumed(name, table).to_pandas() for name, table in made.items()}

    def write(self, folder, lacking=None):
        """Write the tables; those of an earlier version lack some columns of some tables."""
        for name, rows in self.rows.items():
            write_table(folder / "tables", name, rows)
        for name, columns in (lacking or {}).items():
            path = folder / "tables" / f"{name}.parquet"
            pq.write_table(pq.read_table(path).drop_columns(list(columns)), path)
        return folder


ROLES = {
    "reference": ("reference", None),
    "without_csc": ("cell", "csc"),
    "without_ace": ("cell", "ace"),
    "none": ("control", "none"),
    "none_equal_time": ("control", "none_equal_time"),
    "placebo": ("control", "placebo"),
}
"""The cells of an ablation of two terms with three controls: role and factor."""


def ablation_of(scores, roles=ROLES, **fields):
    """An ablation whose cells have some scores over seeds."""
    made = Sweep(purpose="ablation", baseline=None, budget_trials=None, confirm_top=1, **fields)
    for cell, (role, factor) in roles.items():
        made.study(cell, space={}, budget_trials=None)
        for seed, score in enumerate(scores[cell]):
            terms = [{"loss": loss, "name": loss} for loss in ("ace", "csc")]
            config = json.dumps({"teacher": None if cell.startswith("none") else "t", "seed": seed, "terms": terms})
            made.trial(cell, float(score), seed=seed, phase="confirm", config_id=cell, config_json=config)
        made.cell(cell, role, factor, "off")
    return made


def without_a_seed(tables, study):
    """Tables in which the machine of the last trial of a study was lost."""
    trials = tables["trials"]
    last = trials.index == trials[trials["study"] == study].index[-1]
    lost = trials.assign(
        state=trials["state"].mask(last, "failed"),
        score=trials["score"].mask(last),
        failure=trials["failure"].mask(last, "node_lost"),
    )
    return {**tables, "trials": lost}


def elsewhere(tables, of, **facts):
    """Tables in which some trials ran in another environment.

    Args:
        tables: Of a sweep that has one environment.
        of: Takes a row of the table of trials, and returns whether the trial is one of them.
        facts: What is different there, by column of the table of environments.
    """
    here, trials = tables["environments"], tables["trials"]
    there = here.iloc[:1].assign(environment_id="e2", **facts)
    moved = trials.assign(environment_id=trials["environment_id"].mask(trials.apply(of, axis=1), "e2"))
    return {**tables, "environments": pd.concat([here, there], ignore_index=True), "trials": moved}


def on_other_code(tables, study):
    """Tables in which the trials of a study ran on another version of the code."""
    return elsewhere(tables, lambda trial: trial["study"] == study, code_digest="c0de" * 4)


@pytest.fixture
def empty_sweep():
    """The builder itself, for tests which need other sweeps."""
    return Sweep


@pytest.fixture
def sweep():
    """Two studies, three search trials each, the best of each confirmed on seeds 11 and 12.

    Baseline ``none``: 0.40, 0.42 (mean 0.41, screen 0.43). ``cwd``: 0.50, 0.46 (mean 0.48, screen 0.55).
    Paired differences +0.10 and +0.04. Teacher 0.55, so half of the gap is closed.
    """
    made = Sweep()
    made.study("none", is_baseline=True)
    made.study("cwd", space={"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "act": {"choices": ["a", "b"]}})
    for study, scores in (("none", (0.35, 0.43, 0.30)), ("cwd", (0.55, 0.44, 0.20))):
        for score, lr in zip(scores, (1e-3, 1e-2, 3e-4), strict=True):
            params = {"optimizer.lr": lr, "act": "a"} if study == "cwd" else {"optimizer.lr": lr}
            made.trial(study, score, params=params)
    for seed, score in ((11, 0.40), (12, 0.42)):
        made.trial("none", score, seed=seed, of="none-1")
    for seed, score in ((12, 0.46), (11, 0.50)):
        made.trial("cwd", score, seed=seed, of="cwd-0")
    made.teacher(0.55)
    return made


@pytest.fixture
def tables(sweep):
    return sweep.tables()


@pytest.fixture
def realistic(tmp_path):
    """A whole CamVid sweep as it would come out, written to a folder: five studies, six trials each."""
    return write_realistic(tmp_path)


def write_realistic(folder):
    rng = np.random.default_rng(3)
    classes, palette = list(CAMVID), list(CAMVID.values())
    made = Sweep(classes, palette, name="camvid", budget_trials=6, confirm_top=2, confirm_seeds=3)
    made.rows["sweeps"][0]["spec_json"] = json.dumps({"epochs": 20})
    lr = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    weight = {"low": 0.1, "high": 30.0, "log": True}
    spaces = {
        "none": lr,
        "kd": {**lr, "terms.kd.weight": weight, "terms.kd.temperature": {"low": 1.0, "high": 8.0}},
        "cwd": {**lr, "terms.channel_wise.weight": weight},
        "csc_ace": {**lr, "terms.csc.weight": weight},
        "cskd": {**lr, "terms.channel_wise.weight": weight, "terms.cam.weight": weight},
    }
    citations = {"cwd": "Shu et al. 2021", "csc_ace": "Park & Heo 2020", "cskd": "Karine et al. 2024"}
    quality = {"none": 0.452, "kd": 0.458, "cwd": 0.489, "csc_ace": 0.471, "cskd": 0.486}
    base = np.array([0.88, 0.72, 0.09, 0.90, 0.66, 0.68, 0.18, 0.17, 0.60, 0.22, 0.25])
    for study, space in spaces.items():
        cite = citations.get(study)
        made.study(study, space=space, is_baseline=study == "none", citation=cite, budget_trials=6)

    def run(study, true, seed, **fields):
        state = fields.pop("state", "complete")
        epochs = {"pruned": 8, "diverged": 3}.get(state, 20)
        final = true + rng.normal(0, 0.006)
        steps = np.arange(1, epochs + 1)
        curve = final * (1 - np.exp(-steps / 4)) + rng.normal(0, 0.008, epochs)
        score = float(curve[-1]) if state == "complete" else None
        per_class = np.clip(base * (true / 0.452) ** 1.4 + rng.normal(0, 0.012, 11), 0, 1)
        cost = 1.0 if study == "none" else 1.6
        teacher = epochs * 3.0 if study != "none" else None
        seconds = {"seconds": epochs * 9.0 * cost, "epochs_planned": 20, "teacher_s": teacher}
        fields = {**seconds, "state": state, **fields}
        return made.trial(study, score, seed=seed, curve=curve.tolist(), iou=per_class.tolist(), **fields)

    for number in range(6):
        for study, space in spaces.items():
            params = {
                name: float(np.exp(rng.uniform(np.log(domain["low"]), np.log(domain["high"]))))
                for name, domain in space.items()
            }
            penalty = 0.03 * abs(np.log10(params["optimizer.lr"]) + 2.2)
            state = {("kd", 3): "diverged", ("cskd", 4): "failed"}.get((study, number), "complete")
            state = "pruned" if state == "complete" and penalty > 0.035 and number > 1 else state
            reason = {"diverged": "term kd: loss is nan at step 341", "failed": "RuntimeError: out of memory"}
            run(study, quality[study] - penalty, 7, params=params, state=state, reason=reason.get(state))
    for study in spaces:
        done = [t for t in made.rows["trials"] if t["study"] == study and t["state"] == "complete"]
        for top in sorted(done, key=lambda t: -t["score"])[:2]:
            for seed in (101, 102, 103):
                penalty = max(0.0, (quality[study] - top["score"]) * 0.8)
                run(study, quality[study] - penalty, seed, of=top["trial_id"])
    made.teacher(0.561, iou=np.clip(base * 1.33, 0, 0.96).tolist())
    made.write(folder)
    write_pictures(folder / "predictions", palette)
    return folder


def write_pictures(folder, palette):
    folder.mkdir(parents=True, exist_ok=True)
    colors = np.array([[int(p[i : i + 2], 16) for i in (1, 3, 5)] for p in palette], dtype=np.uint8)
    index = []
    for image_id in ("0016E5_07959", "0016E5_08109"):
        files = {}
        for kind in ("image", "truth", "teacher", "baseline", "best"):
            rng = np.random.default_rng(zlib.crc32(image_id.encode()) if kind != "image" else 1)
            blocks = np.kron(rng.integers(0, len(palette), (6, 8)), np.ones((30, 30), dtype=int))
            files[kind] = f"{image_id}-{kind}.png"
            Image.fromarray(colors[blocks]).save(folder / files[kind])
        index.append({"image_id": image_id, "files": files})
    labels = [{"class": name, "color": color} for name, color in CAMVID.items()]
    (folder / "index.json").write_text(json.dumps({"images": index, "labels": labels}))


def rows_of(folder, sql):
    """The rows of the answer to a query."""
    with query(folder, sql) as answer:
        return [dict(zip(answer.columns, row, strict=True)) for rows in answer.batches() for row in rows]
