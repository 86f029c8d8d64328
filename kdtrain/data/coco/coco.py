"""A data set whose labels are annotations in the form of COCO."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdtrain.config_base import Strict
from kdtrain.data.coco.annotations import AnnotatedImage, AnnotationFile, read_annotations
from kdtrain.data.coco.drawing import DrawnLabels, Segments, Shape, drawing_of, segments_in
from kdtrain.data.files import IMAGE_SUFFIXES
from kdtrain.data.labels import LabelMeaning, few
from kdtrain.data.pairs import Pairs
from kdtrain.data.source import IGNORE, RelativeFolder, Role, is_below
from kdtrain.data.stored import Stored
from kdtrain.data.user_images import RolePlaces, UserImages
from kdtrain.data.walk import normalized, walk
from kdtrain.errors import InputError, MissingError

CategoryId = Annotated[int, Field(ge=0)]


class AnnotatedFolder(Strict):
    """A folder of images and the JSON file of their annotations, both under the data root."""

    images: RelativeFolder
    """The folder of images, below the data root; each `file_name` is a path in it."""
    file: RelativeFolder
    """The JSON file, below the data root."""
    segments: RelativeFolder | None = None
    """For panoptic annotations: the folder of PNG files whose colors are the ids of segments."""

    @model_validator(mode="after")
    def _is_json(self) -> "AnnotatedFolder":
        if not self.file.lower().endswith(".json"):
            raise ValueError(f"file is the JSON file of the annotations, got {self.file!r}")
        return self


class AnnotatedRoles(RolePlaces[AnnotatedFolder]):
    """Where each role's images lie; without its own file, `select` is carved out of `train`."""


class Coco(UserImages):
    """Images with annotations in the form of COCO, drawn as label maps: polygons, run lengths, or panoptic segments."""

    name: Literal["coco"] = "coco"
    annotations: AnnotatedRoles
    """Where the images and annotations of each role lie."""
    background: str | None = None
    """The class of pixels that no annotation covers; without one they are ignored."""
    ids: dict[CategoryId, Annotated[int, Field(ge=0, le=254)]] | None = None
    """Id of a category -> index of the class; default: the class of the same name."""
    ignore: tuple[CategoryId, ...] = ()
    """Ids of categories whose pixels are not scored."""
    others: Literal["refused", "ignored", "skipped"] = "refused"
    """What becomes of annotations of a category that is no class: an error, pixels that are not scored, or nothing."""
    overlap: Literal["larger_first", "file_order"] = "larger_first"
    """Which annotation is above: the one of fewer pixels, or the later one in the file."""

    @model_validator(mode="after")
    def _consistent(self) -> "Coco":
        if self.background is not None and self.background not in self.classes:
            raise ValueError(f"background must be one of the classes {few(self.classes, 8)}, got {self.background!r}")
        for category, index in (self.ids or {}).items():
            if index >= len(self.classes):
                raise ValueError(f"ids maps {category} to {index}, but classes end at {len(self.classes) - 1}")
        if both := sorted(set(self.ids or ()) & set(self.ignore)):
            raise ValueError(f"the category {both[0]} is both a class and ignored")
        return self

    @property
    def ignored_labels(self) -> str:
        """Which categories are ignored."""
        return f" (categories that are ignored: {few(self.ignore) or 'none'})"

    def _find(self, role: Role, root: Path) -> Pairs:
        where: AnnotatedFolder = getattr(self.annotations, role)
        what, file = f"the role {role}", root / where.file
        if not file.is_file():
            raise MissingError(f"{what} has no annotations: looked for {file}")
        content = read_annotations(file)
        labels = self._labels_of(content)
        found = walk(what, "images", root / where.images, IMAGE_SUFFIXES)
        pairs: dict[str, tuple[Stored, Stored]] = {}
        for image in content.images:
            image_id = normalized(PurePosixPath(image.file_name).with_suffix("").as_posix())
            path = found.files.get(image_id)
            if path is None or path.suffix.lower() != PurePosixPath(image.file_name).suffix.lower():
                raise MissingError(
                    f"{what} lacks the image {image.file_name!r} of {file} in {root / where.images}; put it there, or "
                    "remove it from the annotations"
                )
            if image_id in pairs:
                raise InputError(f"{file} has two images for the file {path}; keep one of them")
            segments = None if where.segments is None else root / where.segments
            pairs[image_id] = (path, _label_map(content, image, labels, segments))
        if not pairs:
            raise MissingError(f"{what} has no images: {file} describes none")
        rest = len(found.files) - len(pairs)
        notes = (f"{root / where.images}: {rest} images without an entry in {file} passed over",) if rest else ()
        return Pairs(dict(sorted(pairs.items())), (*found.notes, *notes))

    def _meaning(self) -> LabelMeaning:
        empty = IGNORE if self.background is None else self.classes.index(self.background)
        key = json.dumps([sorted(self.ids.items()) if self.ids else None, self.ignore, self.others])
        return DrawnLabels(key, empty, larger_first=self.overlap == "larger_first")

    def _labels_of(self, content: AnnotationFile) -> dict[int, int]:
        """By category, the index of its class, or 255 where it is ignored; categories to skip are left out."""
        index = {name: i for i, name in enumerate(self.classes)}
        if self.ids is None:
            labels = {number: index[name] for number, name in content.categories.items() if name in index}
        else:
            labels = dict(self.ids)
        labels |= dict.fromkeys(self.ignore, IGNORE)
        named = ", ".join(f"{number} ({name})" for number, name in list(content.categories.items())[:12])
        if unknown := sorted(set(labels) - set(content.categories)):
            raise InputError(f"{content.file} has no category {few(unknown)}; its categories are {named}")
        reached = {*labels.values(), *(() if self.background is None else (index[self.background],))}
        if without := [name for name, i in index.items() if i not in reached]:
            raise InputError(
                f"data.classes: {few(without)} is no category of {content.file}, whose categories are {named}; name it "
                "as there, or map categories by data.ids or data.background"
            )
        rest = [number for number in content.used if number not in labels]
        if rest and self.others == "refused":
            shown = few(f"{number} ({content.categories[number]})" for number in rest)
            raise InputError(
                f"{content.file} has annotations of {shown}, which no class stands for; add them to data.classes, "
                "data.ids or data.ignore, or set data.others to ignored or skipped"
            )
        return labels | (dict.fromkeys(rest, IGNORE) if self.others == "ignored" else {})


def _label_map(
    content: AnnotationFile, image: AnnotatedImage, labels: Mapping[int, int], segments: Path | None
) -> Stored:
    if segments is not None:
        return _segments(content, image, labels, segments)
    if any("segments_info" in annotation for annotation in image.annotations):
        raise InputError(
            f"{content.file} has panoptic annotations; name the folder of their PNG files by segments in "
            "data.annotations"
        )
    shapes = (
        Shape(
            f"the annotation {annotation.get('id', number)}",
            labels[annotation["category_id"]],
            annotation.get("segmentation"),
        )
        for number, annotation in enumerate(image.annotations)
        if annotation["category_id"] in labels
    )
    return drawing_of(content.file, image.id, (image.height, image.width), shapes)


def _segments(content: AnnotationFile, image: AnnotatedImage, labels: Mapping[int, int], folder: Path) -> Segments:
    """The panoptic label map of an image; segments of categories to skip are as if they were not there."""
    if len(image.annotations) != 1 or not isinstance(image.annotations[0].get("segments_info"), list):
        raise InputError(
            f"{content.file}: the image {image.file_name!r} must have one panoptic annotation with segments_info; "
            "leave segments out of data.annotations where annotations have polygons or run lengths"
        )
    (annotation,) = image.annotations
    name = annotation.get("file_name")
    if not isinstance(name, str) or not is_below(name) or not (folder / name).is_file():
        raise MissingError(f"{content.file}: there is no PNG file {name!r} of {image.file_name!r} in {folder}")
    table: dict[int, int | None] = {}
    for segment in annotation["segments_info"]:
        if not isinstance(segment, dict) or not isinstance(segment.get("id"), int):
            raise InputError(f"{content.file}: a segment of {image.file_name!r} must have an id, got {segment}")
        table[segment["id"]] = labels.get(segment["category_id"])
    return segments_in(folder / name, table, content.file)
