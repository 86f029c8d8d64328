"""Encoders that know no classes, such as DINOv2, DINOv3 and SAM: what they have in common."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.models.padding import Size

STAGES = 4
"""Layers `encoder.1` to `encoder.4`: the maps after each quarter of the blocks."""
FEATURES = "features"
"""The layer of the encoder's output, behind its last normalization."""


class Encoder(nn.Module):
    """A network that gives the map after each of its blocks, and no logits.

    Its layers are `block.1` to `block.N` (the output of each block), `encoder.1` to `encoder.4` (those after each
    quarter of the blocks) and `features`.

    Args:
        model: As a library builds it.
        blocks: How many blocks it has.
    """

    def __init__(self, model: nn.Module, blocks: int) -> None:
        super().__init__()
        self.model = model
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(blocks))
        self.features = nn.Identity()
        quarters = {f"encoder.{part}": max(1, round(part * blocks / STAGES)) for part in range(1, STAGES + 1)}
        numbers = {f"block.{number}": number for number in range(1, blocks + 1)} | quarters
        self.layers = {layer: f"blocks.{number - 1}" for layer, number in numbers.items()} | {FEATURES: FEATURES}
        self.layer_names = f"block.1 to block.{blocks}, encoder.1 to encoder.{STAGES}, {FEATURES}"

    @abstractmethod
    def maps(self, images: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """The map `(N, C, h, w)` after each block, and that of the output, for normalized images `(N, 3, H, W)`."""

    def forward(self, images: Tensor) -> Tensor:
        """The map of the output."""
        maps, output = self.maps(images)
        for block, value in zip(self.blocks, maps, strict=True):
            block(value)
        return self.features(output)  # type: ignore[no-any-return]


def map_of_tokens(tokens: Tensor, size: Size) -> Tensor:
    """Tokens of patches as a map.

    Args:
        tokens: `(N, T, C)`; those of patches stand last, in rows of the image, behind tokens of no patch (of the class
            and registers).
        size: Rows and columns of patches.

    Returns:
        `(N, C, rows, columns)`.

    Raises:
        InputError: If there are fewer tokens than patches.
    """
    rows, columns = size
    if tokens.shape[1] < rows * columns:
        raise InputError(
            f"the encoder gives {tokens.shape[1]} tokens for {rows} x {columns} patches, as one that merges patches "
            "does, and such tokens are no map; take an encoder with one token per patch"
        )
    patches = tokens[:, tokens.shape[1] - rows * columns :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
