"""The JSON file of a COCO data set: its categories, images and annotations, checked as far as no pixel is needed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kdtrain.data.labels import few
from kdtrain.data.source import is_below
from kdtrain.errors import InputError, unreadable

_MOST_PIXELS = 2 * 89_478_485
"""As many as the decoder of images takes."""


@dataclass(frozen=True)
class AnnotatedImage:
    """An image as the file describes it."""

    id: object
    file_name: str
    height: int
    width: int
    annotations: tuple[Mapping[str, Any], ...]
    """As they stand in the file, in its order."""


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file holds."""

    file: Path
    categories: Mapping[int, str]
    """Names by id."""
    images: tuple[AnnotatedImage, ...]

    @property
    def used(self) -> tuple[int, ...]:
        """The categories that annotations have, ascending."""
        return tuple(sorted({category for image in self.images for category in _categories_of(image.annotations)}))


def read_annotations(file: Path) -> AnnotationFile:
    """Read an annotation file.

    Raises:
        InputError: If it cannot be read, is no JSON, lacks a part, or refers to images or categories that it lacks.
    """
    content = _json(file)
    for part in ("images", "categories", "annotations"):
        if not isinstance(content.get(part), list):
            raise InputError(
                f"{file} has no list {part!r}; it must be a COCO file with images, categories, annotations"
            )
        if wrong := next((entry for entry in content[part] if not isinstance(entry, dict)), None):
            raise InputError(f"{file}: {part} must be a list of objects, got {str(wrong)[:40]!r} in it")
    categories = _categories(file, content["categories"])
    by_image: dict[object, list[Mapping[str, Any]]] = {}
    for image in content["images"]:
        if _key(image.get("id")) in by_image:
            raise InputError(f"{file} has two images with the id {image.get('id')!r}; give each an id of its own")
        by_image[_key(image.get("id"))] = []
    for annotation in content["annotations"]:
        name = f"the annotation {annotation.get('id', '')}".rstrip()
        image_id = _key(annotation.get("image_id"))
        if image_id not in by_image:
            raise InputError(f"{file}: {name} is of the image {image_id!r}, which images does not have; correct one")
        for category in _categories_of((annotation,)):
            if category not in categories:
                raise InputError(
                    f"{file}: {name} has the category {category!r}, which categories does not have; it has "
                    f"{few(f'{number} ({text})' for number, text in categories.items())}"
                )
        by_image[image_id].append(annotation)
    return AnnotationFile(file, categories, tuple(_images(file, content["images"], by_image)))


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no whole JSON file ({error}); copy or export it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold one JSON object with images, categories, annotations")
    return content


def _categories(file: Path, entries: list[dict[str, Any]]) -> dict[int, str]:
    categories: dict[int, str] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str):
            raise InputError(f"{file}: a category must have a whole number as id and a name, got {entry}")
        if number in categories:
            raise InputError(f"{file} has two categories with the id {number}; give each an id of its own")
        categories[number] = name
    if not categories:
        raise InputError(f"{file} has no categories, which say what the ids in its annotations mean; export them too")
    return categories


def _images(
    file: Path, entries: list[dict[str, Any]], annotations: Mapping[object, list[Mapping[str, Any]]]
) -> Iterator[AnnotatedImage]:
    names: set[str] = set()
    for entry in entries:
        image_id, name, size = entry.get("id"), entry.get("file_name"), (entry.get("height"), entry.get("width"))
        if not isinstance(name, str) or not PurePosixPath(name).name or not is_below(name):
            raise InputError(f"{file}: the image {image_id!r} must have a file_name below its folder, got {name!r}")
        if name in names:
            raise InputError(f"{file} has two images with the file_name {name!r}; keep one of them")
        names.add(name)
        height, width = (side if isinstance(side, int) and not isinstance(side, bool) else 0 for side in size)
        if height < 1 or width < 1 or height * width > _MOST_PIXELS:
            raise InputError(
                f"{file}: the image {name!r} must have its height and width in pixels, got {size[0]!r} and {size[1]!r}"
            )
        yield AnnotatedImage(image_id, name, height, width, tuple(annotations[_key(image_id)]))


def _categories_of(annotations: tuple[Mapping[str, Any], ...]) -> Iterator[Any]:
    """The categories of annotations, and of their segments where these are panoptic."""
    for annotation in annotations:
        segments = annotation.get("segments_info")
        for entry in segments if isinstance(segments, list) else (annotation,):
            category = entry.get("category_id") if isinstance(entry, dict) else None
            yield category if isinstance(category, int) else str(category)


def _key(image_id: object) -> object:
    """An id as a key; what cannot be one is none of an image."""
    return image_id if isinstance(image_id, int | str) else str(image_id)
