"""Pulls of the default terms of all methods, as published and in the reductions that depend on no size.

    python benchmarks/pulls.py --teacher runs/demo/teacher --sizes 48x64 160x224 256x512

The pull of a weighted term is the length of its gradient beside that of cross-entropy, at a few steps of an untaught
training (`kdtrain.loop.pulls`): here on generated streets, at several heights and widths of the images (maps have a
quarter of these). Prints a table in Markdown: a row for each term, for each size the pull of the published term and of
the default one. A term whose layers the student lacks is left out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from kdtrain.config import Machine, TrainConfig
from kdtrain.loop.pulls import measure_pulls
from kdtrain.methods import METHODS, Term
from kdtrain.teacher import read_card

STUDENT = {
    "arch": "DeepLabV3Plus",
    "encoder": "tu-mobilenetv3_small_050",
    "options": {"encoder_depth": 4, "decoder_channels": 32},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="the folder of a teacher of the streets")
    parser.add_argument("--sizes", nargs="+", default=["48x64", "160x224", "256x512"], help="of the images")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=128, help="in the training set")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = list(terms_of(options.methods))
    columns = {size: pulls(options, size, pairs) for size in options.sizes}
    print("| term | published | " + " | ".join(options.sizes) + " | default | " + " | ".join(options.sizes) + " |")
    print("| --- " * (3 + 2 * len(options.sizes)) + "|")
    for number, (method, published, default) in enumerate(pairs):
        cells = [f"{method}: {default.name}"]
        for kind, term in enumerate((published, default)):
            cells.append(f"{term.weight:g}")
            cells += [f"{term.weight * column[f'{number}-{kind}']:.2g}" for column in columns.values()]
        print("| " + " | ".join(cells) + " |", flush=True)


def terms_of(methods: list[str]) -> Iterator[tuple[str, Term, Term]]:
    """Method, published and default term, of all terms but the task's own."""
    for name in methods:
        method = METHODS[name]
        for published, default in zip(method.defaults("weight")[0], method.terms, strict=True):
            if default.loss != "cross_entropy" and "aux" not in default.student_layers:
                yield name, published, default


def pulls(options: argparse.Namespace, size: str, pairs: list[tuple[str, Term, Term]]) -> dict[str, float]:
    """The pulls at weight 1 by the term's place in `pairs`."""
    height, width = map(int, size.split("x"))
    config = TrainConfig.parse(
        {
            "data": {
                "name": "streets",
                "size": [height, width],
                "counts": {"train": options.images, "select": options.batch, "test": options.batch},
            },
            "student": STUDENT,
            "teacher": read_card(options.teacher).digest,
            "batch_size": options.batch,
            "epochs": options.epochs,
            "optimizer": {"name": "adamw", "lr": 0.005},
        }
    )
    terms = {f"{number}-{kind}": pair[1 + kind] for number, pair in enumerate(pairs) for kind in (0, 1)}
    calibration = measure_pulls(config, terms, Machine(device="cpu", threads=1, teacher=options.teacher))
    return {key: calibration.ratio(key) for key in terms}


if __name__ == "__main__":
    main()
