"""What label maps hold, ids or colors and which, and what the field `data` of a spec says of them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from kdtrain.data.decode import Color, opened, read_colors, read_ids
from kdtrain.data.labels import few
from kdtrain.data.palette import color_text
from kdtrain.data.source import IGNORE, Pixels
from kdtrain.data.stored import Stored
from kdtrain.errors import InputError

Value = TypeVar("Value", int, str)
Key = tuple[str, str]
"""Role and id of an image."""
_MOST_CLASSES = 255
NOT_SCORED = "-"
"""In the place of the name of a class: its id or color is not scored."""
_ALONE = "the label maps hold the {} alone, so there is nothing to tell apart; give at least two classes"
_BORDER = "#e0e0c0"
"""What the color tools of Pascal VOC draw around objects, which is not scored."""


@dataclass(frozen=True)
class LabelScan:
    """What was found in label maps.

    Attributes:
        as_colors: Whether classes are told by colors; by ids otherwise.
        present: By image, the ids or the colors (`0xrrggbb`) that its label map holds.
        palette: The color of each id in palette images.
    """

    as_colors: bool
    present: Mapping[Key, frozenset[int]]
    palette: Mapping[int, Color]

    @property
    def values(self) -> list[int]:
        """All ids or colors, ascending."""
        return sorted(frozenset().union(*self.present.values()))

    def sentence(self) -> str:
        """What the label maps hold, for the user."""
        kind, values = "colors" if self.as_colors else "ids", self.values
        shown = [f"#{value:06x}" if self.as_colors else str(value) for value in values[:12]]
        rest = ", ..." if len(values) > len(shown) else ""
        return f"label maps: {len(self.present)} files of {len(values)} {kind}: {', '.join(shown)}{rest}"

    def content(self, names: tuple[str, ...], named_colors: Mapping[str, str]) -> dict[str, object]:
        """The fields of the data set `folder` that say what the label maps mean.

        Args:
            names: Of the classes, in the order of their ids or colors, `-` for those that are not scored; none for
                names made of these.
            named_colors: Names of classes by their color, from a file beside the images.

        Raises:
            InputError: If these are no labels of 2 to 255 classes, or there are more or fewer names.
        """
        return self._by_colors(names, named_colors) if self.as_colors else self._by_ids(names)

    def lacking(self, content: Mapping[str, object], images: Iterable[Key]) -> list[str]:
        """The classes of `content` that have no pixel in these images."""
        seen: frozenset[int] = frozenset().union(*(self.present[key] for key in images if key in self.present))
        classes = list(content["classes"])  # type: ignore[call-overload]
        table = content.get("label_colors") if self.as_colors else content.get("ids")
        if isinstance(table, Mapping):
            indices = {
                index for value, index in table.items() if (int(value[1:], 16) if self.as_colors else value) in seen
            }
        else:
            indices = {value for value in seen if value != IGNORE}
        return [name for index, name in enumerate(classes) if index not in indices]

    def _by_ids(self, names: tuple[str, ...]) -> dict[str, object]:
        values = [value for value in self.values if value != IGNORE]
        mask = len(values) == 1 and IGNORE in self.values
        if mask:
            values = self.values
        if len(values) < 2:
            raise InputError(_ALONE.format(f"id {few(values)}"))
        places = not mask and bool(names) and values[-1] < len(names)  # the ids are places in the list of names
        if places:
            values = list(range(len(names)))
        _check_names(names, len(values), "ids")
        values, ignored, names = _divided(values, names, "id")
        content: dict[str, object] = {"classes": list(names or (f"class_{value}" for value in values))}
        if mask and not names:
            content["classes"] = ["background", "object"]
        if values != list(range(len(values))):
            content["ids"] = {value: index for index, value in enumerate(values)}
        if mask or ignored:
            content["ignore"] = ignored
        if not places and len(self.palette) and all(value in self.palette for value in values):
            content["colors"] = [color_text(self.palette[value]) for value in values]
        return content

    def _by_colors(self, names: tuple[str, ...], named_colors: Mapping[str, str]) -> dict[str, object]:
        colors = [f"#{value:06x}" for value in self.values]
        ignored = [color for color in colors if color == _BORDER and color not in named_colors and len(colors) > 2]
        colors = [color for color in colors if color not in ignored]
        if len(colors) > _MOST_CLASSES:
            raise InputError(
                f"the label maps hold {len(colors)} colors, more than {_MOST_CLASSES} classes: their edges are "
                "smoothed or they were saved with loss; export them without smoothing, as PNG"
            )
        if len(colors) < 2:
            raise InputError(_ALONE.format(f"color {few(colors)}"))
        _check_names(names, len(colors), "colors")
        colors, left_out, names = _divided(colors, names, "color")
        ignored += left_out
        usual = {"#000000": "background", **({"#ffffff": "object"} if len(colors) == 2 else {})}
        by_color = [named_colors.get(color) or usual.get(color) or f"color_{color[1:]}" for color in colors]
        content: dict[str, object] = {"classes": list(names or _distinct(by_color, colors))}
        content["label_colors"] = {color: index for index, color in enumerate(colors)}
        if ignored:
            content["ignore_colors"] = ignored
        return content


def scan_labels(files: Mapping[Key, Stored], seen: Callable[[int, int], None] = lambda done, total: None) -> LabelScan:
    """Read all label maps.

    Args:
        files: The label maps.
        seen: Is told how many were read, and of how many.

    Raises:
        InputError: If one cannot be read exactly.
    """
    if all(_mode(file) in ("L", "P") for file in files.values()):
        scan = _scan_ids(files, seen)
        if scan is not None:
            return scan
    return LabelScan(True, _read_all(files, lambda file: _unique(_codes(read_colors(file, gray=True))), seen), {})


def read_named_colors(folder: Path) -> dict[str, str]:
    """Names of classes by color, from the lines of `class_dict.csv`, `label_colors.txt` or `labelmap.txt` in a folder.

    A line is a name and three numbers in any order, however they are separated; other lines are passed over.
    """
    named: dict[str, str] = {}
    for file in ("class_dict.csv", "label_colors.txt", "labelmap.txt"):
        try:
            lines = (folder / file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            numbers = re.findall(r"(?<![\w])\d{1,3}(?![\w])", line)
            words = re.findall(r"[^\W\d_][\w -]*", line)
            if len(numbers) >= 3 and words and all(int(number) <= 255 for number in numbers[:3]):
                named.setdefault(color_text(map(int, numbers[:3])), words[0].strip())
    return named


def _scan_ids(files: Mapping[Key, Stored], seen: Callable[[int, int], None]) -> LabelScan | None:
    """The ids of files of one channel; none where their palettes differ, so that only colors mean the same in all."""
    palettes: list[dict[int, Color]] = []

    def read(file: Stored) -> frozenset[int]:
        ids, palette = read_ids(file)
        palettes.append(palette)
        return _unique(ids)

    present = _read_all(files, read, seen)
    joined: dict[int, Color] = {}
    for palette in palettes:
        if any(joined.get(index, color) != color for index, color in palette.items()):
            return None
        joined |= palette
    return LabelScan(False, present, joined)


def _read_all(
    files: Mapping[Key, Stored], read: Callable[[Stored], frozenset[int]], seen: Callable[[int, int], None]
) -> dict[Key, frozenset[int]]:
    present = {}
    with ThreadPoolExecutor(4) as pool:
        for done, (key, values) in enumerate(zip(files, pool.map(read, files.values()), strict=True), start=1):
            present[key] = values
            seen(done, len(files))
    return present


def _unique(values: Pixels | np.ndarray) -> frozenset[int]:
    return frozenset(np.unique(values).tolist())


def _codes(colors: Pixels) -> np.ndarray:
    wide = colors.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _mode(file: Stored) -> str:
    try:
        with opened(file) as image:
            return image.mode
    except Exception:  # a damaged file is refused when it is read
        return ""


def _check_names(names: tuple[str, ...], count: int, kind: str) -> None:
    if names and len(names) != count:
        raise InputError(
            f"--classes: must name {count} classes, one for each of the {kind} in the label maps, got {len(names)}: "
            f"{few(names)}; write {NOT_SCORED} in the place of what is not scored"
        )
    scored = [name for name in names if name != NOT_SCORED]
    if len(set(scored)) < len(scored):
        raise InputError(f"--classes: names must differ, got {few(names)}")


def _divided(
    values: Sequence[Value], names: tuple[str, ...], kind: str
) -> tuple[list[Value], list[Value], tuple[str, ...]]:
    """The ids or colors that are scored, those that are not, and the names of the classes.

    Raises:
        InputError: If fewer than two are scored.
    """
    left_out = [value for value, name in zip(values, names, strict=False) if name == NOT_SCORED]
    scored = [value for value in values if value not in left_out]
    if len(scored) < 2:
        raise InputError(f"--classes: must name two classes or more, got {kind} {few(scored)} alone that is scored")
    return scored, left_out, tuple(name for name in names if name != NOT_SCORED)


def _distinct(names: list[str], colors: list[str]) -> list[str]:
    """Names of which none comes twice."""
    return [
        name if names.count(name) == 1 else f"{name}_{color[1:]}" for name, color in zip(names, colors, strict=True)
    ]
