"""Predictions beside the truth, with maps of what each network got wrong."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.report import html as page
from analysis.report.findings import Findings

PREDICTED = ("teacher", "baseline", "best")
_WRONG, _RIGHT, _VOID = (217, 58, 47, 255), (128, 134, 145, 70), (0, 0, 0, 0)


def section(findings: Findings) -> str:
    """The images that ``D/predictions/index.json`` lists, each network's prediction over the map of its errors."""
    folder = findings.folder / "predictions"
    if not (folder / "index.json").is_file():
        return ""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    labels = {label["class"]: label["color"] for label in index.get("labels", [])}
    rows = []
    for entry in index["images"]:
        files = {kind: folder / file for kind, file in entry["files"].items() if (folder / file).is_file()}
        cells = [_cell(kind, path, files.get("truth"), labels, entry["image_id"]) for kind, path in files.items()]
        name = f'<span class="aside">{page.escape(entry["image_id"])}</span>'
        rows.append(f'{name}<div class="pictures" style="--n:{len(cells)}">{"".join(cells)}</div>')
    legend = page.keys(labels, square=True)
    rest = (
        f"{len(rows)} images of the role select, spread evenly over it, not chosen by result. One checkpoint each: the "
        "first fresh seed of baseline and best. Below a prediction: red where it is wrong, the share of labeled "
        "pixels that are."
    )
    return page.figure("".join(rows) + legend, "What the networks predict, and where they are wrong.", rest)


def errors(prediction: np.ndarray, truth: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, float]:
    """Where a prediction is wrong.

    Args:
        prediction: Colors (H, W, 3) of the predicted classes.
        truth: Colors (H, W, 3) of the true ones.
        classes: Colors (K, 3) of the classes; a pixel of another color has no label and does not count.

    Returns:
        A picture (H, W, 4) and the share of labeled pixels that are wrong, NaN without any.
    """
    labeled = (truth[:, :, None] == classes).all(-1).any(-1)
    wrong = labeled & (prediction != truth).any(-1)
    shown = np.where(wrong[..., None], _WRONG, np.where(labeled[..., None], _RIGHT, _VOID)).astype(np.uint8)
    return shown, float(wrong.sum() / labeled.sum()) if labeled.any() else float("nan")


def _cell(kind: str, path: Path, truth: Path | None, colors: dict[str, str], image_id: str) -> str:
    drawn = page.image(path.read_bytes(), f"{kind} of {image_id}")
    if kind not in PREDICTED or truth is None or not colors:
        return f"<div>{drawn}<span>{page.escape(kind)}</span></div>"
    predicted, true = (np.asarray(Image.open(file).convert("RGB")) for file in (path, truth))
    if predicted.shape != true.shape:
        return f"<div>{drawn}<span>{page.escape(kind)}</span></div>"
    classes = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors.values()])
    shown, share = errors(predicted, true, classes)
    file = io.BytesIO()
    Image.fromarray(shown).quantize(4).save(file, "PNG", optimize=True)
    below = page.image(file.getvalue(), f"errors of {kind} in {image_id}")
    wrong = "" if np.isnan(share) else f": {100 * share:.1f} % wrong"
    return f"<div>{drawn}{below}<span>{page.escape(kind)}{wrong}</span></div>"
