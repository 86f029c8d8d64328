"""Drawing one street scene.

Colors overlap between classes on purpose: walls, roads and pavements share grays, trees and facades share
greens, and the two kinds of signs differ by their pattern alone. Texture, shape and place tell them apart.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from kdtrain.data.source import IGNORE, Pixels
from kdtrain.runtime.random_streams import numpy_rng

CLASSES = (
    "sky", "building", "road", "pavement", "tree", "car", "pole", "warning_sign", "info_sign", "pedestrian",
)  # fmt: skip
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, POLE, WARNING, INFO, PEDESTRIAN = range(len(CLASSES))

BLOCK = 6
"""Images of one block share house colors, light and camera: they form a group."""

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def draw_scene(size: tuple[int, int], seed: int, role: str, index: int) -> tuple[Pixels, Pixels]:
    """Scene `index` of a role: RGB `(H, W, 3)` and class ids `(H, W)`."""
    block = _Block(numpy_rng(seed, "streets", role, "block", index // BLOCK))
    scene = _Scene(size, block, numpy_rng(seed, "streets", role, "image", index))
    return scene.draw()


class _Block:
    """What the images of one block have in common."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.facades = [_muted(rng) for _ in range(3)]
        self.ground = np.float32(rng.uniform(60, 150)) + rng.uniform(-12, 12, 3).astype(np.float32)
        self.pavement = self.ground + np.float32(rng.uniform(-25, 35))
        self.light = np.float32(rng.uniform(0.6, 1.15))
        self.tint = rng.uniform(0.88, 1.12, 3).astype(np.float32)
        self.overcast = rng.random() < 0.4
        self.horizon = rng.uniform(0.38, 0.52)
        self.vanish = rng.uniform(0.35, 0.65)
        self.road = rng.uniform(0.28, 0.42)


class _Scene:
    """One picture, painted from far to near; every stroke writes the image and the labels together."""

    def __init__(self, size: tuple[int, int], block: _Block, rng: np.random.Generator) -> None:
        self.height, self.width = size
        self.block = block
        self.rng = rng
        self.grain = rng.standard_normal(size, dtype=np.float32)
        self.image = np.zeros((*size, 3), dtype=np.float32)
        self.labels = np.zeros(size, dtype=np.uint8)
        self.y, self.x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32) + 0.5
        self.horizon = self.height * (block.horizon + rng.uniform(-0.03, 0.03))
        self.vanish = self.width * (block.vanish + rng.uniform(-0.08, 0.08))
        # 0 at the horizon, 1 at the lower edge: how near the ground is.
        self.near = np.clip((self.y - self.horizon) / (self.height - self.horizon), 0, 1)

    def draw(self) -> tuple[Pixels, Pixels]:
        rng = self.rng
        self._sky()
        self._ground()
        for side in (-1, 1):
            self._houses(side)
        kinds: tuple[Callable[[float], None], ...] = (
            self._tree, self._car, self._pole, self._sign, self._pedestrian,
        )  # fmt: skip
        things: list[tuple[float, Callable[[float], None]]] = []
        for thing in kinds:
            things += [(float(rng.uniform(0.25, 0.85)), thing) for _ in range(rng.integers(1, 4))]
        for depth, thing in sorted(things, key=lambda pair: pair[0]):
            thing(depth)
        if rng.random() < 0.3:
            self._bonnet()
        return self._photograph(), self.labels

    def _paint(self, mask: Mask, color: Floats, label: int) -> None:
        self.image[mask] = color[mask] if color.ndim == 3 else color
        self.labels[mask] = label

    def _noise(self, cell: float) -> Floats:
        """Smooth noise with blobs of about `cell` pixels, standard deviation near 1, `(H, W)`."""
        rows, cols = max(2, round(self.height / cell)), max(2, round(self.width / cell))
        coarse = Image.fromarray(self.rng.standard_normal((rows, cols)).astype(np.float32))
        return np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BILINEAR))

    def _sky(self) -> None:
        top, low = (_rgb(150, 155, 160), _rgb(185, 185, 185))
        if not self.block.overcast:
            top, low = _rgb(95, 140, 200), _rgb(170, 195, 220)
        fade = np.clip(self.y / self.horizon, 0, 1)[..., None]
        clouds = 22 * np.clip(self._noise(12) + 0.5 * self._noise(5), 0, None)
        self._paint(self.y <= self.horizon, top + (low - top) * fade + clouds[..., None], SKY)

    def _ground(self) -> None:
        below = self.y > self.horizon
        middle = self.vanish + (self.width * 0.5 - self.vanish) * self.near
        self.off_road = np.abs(self.x - middle) - self.width * self.block.road * self.near
        edge = self.width * 0.02 * self.near
        asphalt = self.block.ground + (9 * self.grain + 8 * self._noise(14))[..., None]
        lane = (np.abs(self.x - middle) < edge * 0.7 + 0.3) & (np.sin(7 / (self.near + 0.12)) > 0)
        self._paint(below, asphalt, ROAD)
        self._paint(below & lane, asphalt + np.float32(70), ROAD)
        # Slabs: joints run to the vanishing point and across, in perspective.
        across = np.sin(30 / (self.near + 0.15)) > 0.75
        along = np.sin(2 * np.pi * 5 * self.off_road / (self.width * 0.3 * self.near + 1)) > 0.85
        slabs = self.block.pavement + (6 * self.grain + 6 * self._noise(10) - 24 * (across | along))[..., None]
        self._paint(below & (self.off_road > 0), slabs, PAVEMENT)
        self._paint(below & (np.abs(self.off_road) < edge * 0.5), slabs + np.float32(25), PAVEMENT)

    def _houses(self, side: int) -> None:
        """A row of houses from far to near along one side; fronts grow toward the edge of the picture."""
        rng = self.rng
        reach = self.vanish if side < 0 else self.width - self.vanish
        distance = np.clip(side * (self.x - self.vanish) / reach, 0, 1)
        start = rng.uniform(0.02, 0.2)
        while start < 1:
            end = start + rng.uniform(0.15, 0.4)
            if rng.random() > 0.2:
                self._house(distance, start, end)
            start = end

    def _house(self, distance: Floats, start: float, end: float) -> None:
        rng = self.rng
        tall = self.height * rng.uniform(0.25, 0.75)
        roof = self.horizon - tall * (0.2 + 0.8 * distance)
        foot = self.horizon + (self.height - self.horizon) * 0.55 * distance
        mask = (distance >= start) & (distance < end) & (self.y > roof) & (self.y < foot)
        wall = self.block.facades[rng.integers(3)] if rng.random() < 0.7 else self.block.pavement
        up = (self.y - roof) / np.maximum(foot - roof, 1)
        along = (distance - start) / (end - start)
        floors, windows = rng.integers(2, 6), rng.integers(2, 6)
        pane = (np.abs((up * floors) % 1 - 0.5) < rng.uniform(0.2, 0.35)) & (
            np.abs((along * windows) % 1 - 0.5) < rng.uniform(0.15, 0.35)
        )
        glass = np.float32(rng.choice([-45, -30, 40])) + rng.uniform(-15, 15, 3).astype(np.float32)
        bricks = 7 * np.sign(np.sin(self.y * 2.2)) if rng.random() < 0.5 else 5 * self._noise(3)
        front = wall + (bricks + 6 * self.grain + 8 * self._noise(16))[..., None]
        self._paint(mask, np.where(pane[..., None], front + glass, front), BUILDING)

    def _spot(self, depth: float, side: float, on_road: bool) -> tuple[float, float, float]:
        """Column and row where a thing of this depth stands, and the height in pixels of a person there."""
        row = self.horizon + (self.height - self.horizon) * depth
        middle = self.vanish + (self.width * 0.5 - self.vanish) * depth
        half = self.width * self.block.road * depth
        away = self.rng.uniform(0.2, 0.85) * half if on_road else half * self.rng.uniform(1.08, 1.7) + 1
        return middle + side * away, row, self.height * (0.06 + 0.42 * depth)

    def _side(self) -> float:
        return float(self.rng.choice([-1.0, 1.0]))

    def _tree(self, depth: float) -> None:
        rng = self.rng
        col, row, person = self._spot(depth, self._side(), on_road=False)
        radius = person * rng.uniform(0.5, 0.9)
        top = row - person * rng.uniform(1.5, 2.2)
        trunk = (np.abs(self.x - col) < max(0.6, person * 0.07)) & (self.y > top) & (self.y < row)
        self._paint(trunk, _rgb(85, 70, 55) + (8 * self.grain)[..., None], TREE)
        edge = 1 + 0.25 * self._noise(4)
        crown = ((self.x - col) / radius) ** 2 + ((self.y - top) / (radius * 0.95)) ** 2 < edge
        leaf = _rgb(rng.uniform(60, 120), rng.uniform(85, 125), rng.uniform(45, 80))
        self._paint(crown, leaf + (16 * self.grain + 12 * self._noise(3))[..., None], TREE)

    def _car(self, depth: float) -> None:
        rng = self.rng
        col, row, person = self._spot(depth, self._side(), on_road=True)
        long, high = person * rng.uniform(0.55, 1.0), person * rng.uniform(0.6, 0.75)
        u, v = (self.x - col) / long, (row - self.y) / high
        body = (np.abs(u) < 1) & (v > 0.12) & (v < 0.58)
        cabin = (np.abs(u) < 0.72 - 0.3 * (v - 0.58)) & (v >= 0.58) & (v < 1)
        wheels = (np.abs(np.abs(u) - 0.62) < 0.2) & (v >= 0) & (v < 0.2)
        paint = _muted(rng) + rng.uniform(-40, 40, 3).astype(np.float32)
        self._paint(body | cabin, paint + (5 * self.grain + 25 * (v - 0.5))[..., None], CAR)
        self._paint(cabin & (np.abs(u) < 0.55) & (v < 0.92), _rgb(60, 70, 80) + (20 * v)[..., None], CAR)
        self._paint(wheels, _rgb(28, 28, 30), CAR)

    def _pole(self, depth: float) -> None:
        col, row, person = self._spot(depth, self._side(), on_road=False)
        self._post(col, row, row - person * self.rng.uniform(1.8, 2.6), person)

    def _post(self, col: float, row: float, top: float, person: float) -> None:
        mask = (np.abs(self.x - col) < max(0.8, person * 0.055)) & (self.y > top) & (self.y < row)
        self._paint(mask, np.float32(self.rng.choice([45, 190])) + (6 * self.grain)[..., None], POLE)

    def _sign(self, depth: float) -> None:
        """A square board: a warning bears a dark diagonal cross, an information dark bars, on any color."""
        rng = self.rng
        col, row, person = self._spot(depth, self._side(), on_road=False)
        half = max(2.8, person * rng.uniform(0.26, 0.4))
        center = row - person * rng.uniform(1.1, 1.5)
        self._post(col, row, center, person)
        u, v = (self.x - col) / half, (self.y - center) / half
        board = (np.abs(u) < 1) & (np.abs(v) < 1)
        paints = (_rgb(215, 195, 70), _rgb(215, 215, 210), _rgb(90, 130, 205), _rgb(205, 90, 70))
        kind = WARNING if rng.random() < 0.5 else INFO
        mark = np.abs(np.abs(u) - np.abs(v)) < 0.3 if kind == WARNING else np.abs(np.abs(v) - 0.5) < 0.25
        paint = paints[rng.integers(4)] + rng.uniform(-25, 25, 3).astype(np.float32)
        color = paint + (6 * self.grain - 95 * mark)[..., None]
        self._paint(board, color, kind)

    def _pedestrian(self, depth: float) -> None:
        rng = self.rng
        col, row, person = self._spot(depth, self._side(), on_road=rng.random() < 0.25)
        wide = max(1.2, person * 0.17)
        u, v = (self.x - col) / wide, (row - self.y) / person
        head = (u / 0.7) ** 2 + ((v - 0.9) * person / (wide * 0.8)) ** 2 < 1
        coat = (np.abs(u) < 1 - 0.3 * v) & (v > 0.42) & (v < 0.84)
        legs = (np.abs(u) < 0.75) & (np.abs(u) > 0.1) & (v > 0) & (v <= 0.42)
        self._paint(legs, _muted(rng) * np.float32(0.6) + (6 * self.grain)[..., None], PEDESTRIAN)
        self._paint(coat, _muted(rng) + (8 * self.grain)[..., None], PEDESTRIAN)
        self._paint(head, _rgb(175, 130, 105) * np.float32(rng.uniform(0.5, 1.15)), PEDESTRIAN)

    def _bonnet(self) -> None:
        """The camera's own car, which is not scored."""
        arc = ((self.x / self.width - 0.5) / 0.45) ** 2 + ((self.y / self.height - 1.02) / 0.1) ** 2 < 1
        self._paint(arc, _rgb(45, 45, 50), IGNORE)

    def _photograph(self) -> Pixels:
        """Light, shadow, a soft lens and sensor noise over the painted scene."""
        shade = 1 + 0.12 * self._noise(24)
        image = self.image * (self.block.light * self.block.tint) * shade[..., None]
        across = (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]) / 4
        image[:, 1:-1] = across
        down = (image[:-2] + 2 * image[1:-1] + image[2:]) / 4
        image[1:-1] = down
        image += 7 * self.rng.standard_normal(image.shape, dtype=np.float32)
        pixels: Pixels = np.clip(image, 0, 255).astype(np.uint8)
        return pixels


def _rgb(red: float, green: float, blue: float) -> Floats:
    return np.array([red, green, blue], dtype=np.float32)


def _muted(rng: np.random.Generator) -> Floats:
    """A color of walls, coats and cars, near to gray."""
    return np.float32(rng.uniform(60, 190)) + rng.uniform(-35, 35, 3).astype(np.float32)
