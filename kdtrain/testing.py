"""What every loss, method and data set must hold, for the tests of whoever writes one; ours pass the same.

    from kdtrain.testing import check_data, check_loss, check_method

    def test_my_loss():
        check_loss("my_package.my_module:MyLoss")

Each function raises AssertionError, which says in one sentence what does not hold.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from kdtrain.config import TrainConfig
from kdtrain.data import ROLES, DataSet, DataSource, open_data, open_role, parse_data
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from kdtrain.methods import Method, Term, TermInput, TermModule, find_term, get_method, parse_term
from kdtrain.methods.base import CLASS_MAPS, LARGEST_SEARCHED_PULL, LEAST_PULL, Units
from kdtrain.space import Choice, Domain

CLASSES = 5
IGNORED = 255
STUDENT_SIZE, LABEL_SIZE = (6, 8), (24, 32)
TEACHER_SIZES = ((6, 8), (12, 15))
"""Height and width: equal to the student's, and another one."""
FEATURES = {"student": 16, "teacher": 24}
"""Channels of layers that are not logits."""
STATUSES = ("stated", "secondary", "inferred")
TEACHER = "0" * 16


# Losses


def check_loss(loss: type[Term] | str, **options: object) -> None:
    """Check a loss, with and without the given options.

    The value is a finite float32 scalar that does not depend on the weight, with a gradient for the student and the
    module's own parameters alone; it is the same in every call with the same randomness, in any memory format, and
    close to it in half precision; ignored labels are no error; nothing that comes in is changed; the config survives
    JSON and refuses unknown keys. Where the class declares `zero_at_teacher`, the loss is 0 for equal maps.

    Args:
        loss: The class, or the name by which a config refers to it.
        options: Fields of the class that differ from their defaults.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If there is no such loss, or it does not take the options.
    """
    kind = find_term(loss) if isinstance(loss, str) else loss
    name = loss if isinstance(loss, str) else kind().loss
    _require(find_term(name) is kind, f"{kind.__name__}: the name {name!r} must lead to this class")
    for more in ({}, options) if options else ({},):
        term = parse_term({"loss": name, **more})
        _check_config(term)
        for teacher_size in TEACHER_SIZES:
            _check_value(term, teacher_size)
        for layers in (term, _on_features(term, "decoder,decoder" if term.joint else "decoder")):
            if layers is not None:
                _check_precision(layers)
        _check_ignored_labels(term)
        _check_several_layers(term)
        if kind.zero_at_teacher:
            _check_zero_at_teacher(term)


def example_input(
    term: Term, teacher_size: tuple[int, int] = STUDENT_SIZE, seed: int = 0, equal_channels: bool = False
) -> TermInput:
    """A batch as a term sees it: random maps of both networks at its layers, and labels.

    Maps of the layers `logits` and `aux` have as many channels as there are classes; those of other layers have more
    for the teacher than for the student, unless the term needs equal ones or `equal_channels` asks for them.
    """
    source = torch.Generator().manual_seed(seed)
    images = max(4, term.smallest_batch)
    features = dict.fromkeys(FEATURES, FEATURES["student"]) if equal_channels or term.equal_channels else FEATURES

    def maps(layers: Iterable[str], side: str, size: tuple[int, int]) -> tuple[Tensor, ...]:
        channels = (CLASSES if layer in CLASS_MAPS else features[side] for layer in layers)
        return tuple(torch.randn(images, count, *size, generator=source) for count in channels)

    students = maps(term.student_layers, "student", STUDENT_SIZE)
    return TermInput(
        students=tuple(value.requires_grad_() for value in students),
        teachers=maps(term.teacher_layers, "teacher", teacher_size),
        labels=torch.randint(CLASSES, (images, *LABEL_SIZE), generator=source),
        num_classes=CLASSES,
        ignore_index=IGNORED,
        generator=torch.Generator().manual_seed(1),
    )


def example_module(term: Term, batch: TermInput) -> TermModule:
    """The module of a term for maps such as those of a batch, always with the same initial weights."""
    students, teachers = (
        {layer: tuple(value.shape[1:]) for layer, value in zip(layers, maps, strict=True)}
        for layers, maps in ((term.student_layers, batch.students), (term.teacher_layers, batch.teachers))
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return term.build(students, teachers, batch.num_classes)


def _check_config(term: Term) -> None:
    loss, kind = term.loss, type(term)
    given = parse_term({**term.model_dump(mode="json"), "name": "mine", "weight": 0.25})
    again = parse_term(json.loads(given.model_dump_json()))
    _require(again == given and type(again) is kind, f"{loss}: the config must be the same after a way through JSON")
    for key, value in (("no_such_option", 1), ("weight", -1)):
        try:
            parse_term({**term.model_dump(mode="json"), key: value})
        except InputError:
            continue
        raise AssertionError(f"{loss}: the config must refuse {key} = {value}, as Term does")


def _check_value(term: Term, teacher_size: tuple[int, int]) -> None:
    batch = example_input(term, teacher_size)
    before = [value.detach().clone() for value in (*batch.students, *batch.teachers, batch.labels)]
    teachers = tuple(value.clone().requires_grad_() for value in batch.teachers)
    value, module = _backward(term, replace(batch, teachers=teachers))
    at = f"{term.loss}, with the teacher's map of {teacher_size[0]} x {teacher_size[1]}"
    for gradient in (map.grad for map in batch.students):
        _require(gradient is not None, f"{at}: the gradient must reach every map of the student")
        assert gradient is not None
        _require(bool(gradient.isfinite().all()), f"{at}: the gradient of the student must be finite")
        _require(bool(gradient.abs().max() > 0), f"{at}: the gradient of the student must not be 0 everywhere")
    _require(
        all(map.grad is None or not map.grad.any() for map in teachers),
        f"{at}: no gradient may reach the teacher; detach its maps",
    )
    for name, parameter in module.named_parameters():
        fine = not parameter.requires_grad or (parameter.grad is not None and bool(parameter.grad.isfinite().all()))
        _require(fine, f"{at}: the parameter {name} of the module must have a finite gradient")
    after = [value.detach() for value in (*batch.students, *teachers, batch.labels)]
    _require(all(map(torch.equal, before, after)), f"{at}: maps and labels must not be changed")
    repeated, _ = _backward(term, example_input(term, teacher_size))
    _require(torch.equal(value, repeated), f"{at}: the value must be the same for the same maps and random stream")
    heavy, _ = _backward(term.model_copy(update={"weight": 7.0}), example_input(term, teacher_size))
    _require(torch.equal(value, heavy), f"{at}: the value must not contain the weight, which the training multiplies")


def _check_precision(term: Term) -> None:
    batch = example_input(term, TEACHER_SIZES[1])
    plain, _ = _backward(term, batch)

    def half(maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(map.detach().to(torch.bfloat16, memory_format=torch.channels_last) for map in maps)

    students, teachers = half(batch.students), half(batch.teachers)
    for value in students:
        value.requires_grad_()
    stream = torch.Generator().manual_seed(1)
    value, _ = _backward(term, replace(batch, students=students, teachers=teachers, generator=stream))
    for map in students:
        _require(
            map.grad is not None and bool(map.grad.isfinite().all()),
            f"{term.loss}: the gradient must be finite for maps in bfloat16 and channels_last",
        )
    close = torch.allclose(value, plain, rtol=0.05, atol=0.01)
    _require(close, f"{term.loss}: maps in bfloat16 and channels_last must give nearly {plain:.4g}, got {value:.4g}")
    batch = example_input(term)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _backward(term, batch)


def _check_ignored_labels(term: Term) -> None:
    batch = example_input(term)
    labels = torch.full_like(batch.labels, IGNORED)
    _backward(term, replace(batch, labels=labels))
    for value in batch.students:
        finite = value.grad is None or bool(value.grad.isfinite().all())
        _require(finite, f"{term.loss}: the gradient must be finite where all labels are ignored")


def _check_several_layers(term: Term) -> None:
    """Two features of each network; a loss that is not joint gives the mean over the pairs."""
    several = _on_features(term, "encoder.3,decoder") if term.needs_teacher else None
    if several is None:
        return
    batch = example_input(several)
    value, _ = _backward(several, batch)
    if several.joint:
        return
    stream = torch.Generator().manual_seed(1)
    alone = [replace(pair, generator=stream) for pair in batch.each()]
    singles = [single for layer in several.student_layers if (single := _on_features(term, layer)) is not None]
    if any(True for _ in example_module(several, batch).parameters()):
        return  # the modules of several pairs do not start from the weights of a single one
    mean = torch.stack([_backward(single, part)[0] for single, part in zip(singles, alone, strict=True)]).mean()
    _require(torch.allclose(value, mean), f"{term.loss}: at two pairs of layers the value must be the mean over them")


def _on_features(term: Term, layers: str) -> Term | None:
    """The same loss between features; None if it only takes logits."""
    try:
        return parse_term({**term.model_dump(mode="json"), "student_layer": layers, "teacher_layer": layers})
    except InputError:
        return None


def _check_zero_at_teacher(term: Term) -> None:
    batch = example_input(term, equal_channels=True)
    teachers = tuple(map.detach().clone() for map in batch.students)
    module = example_module(term, batch)
    value = module(replace(batch, teachers=teachers))
    _require(bool(value.abs() < 1e-5), f"{term.loss} declares zero_at_teacher, but equal maps give {value:.4g}")


def _backward(term: Term, batch: TermInput) -> tuple[Tensor, TermModule]:
    """The value after its backward pass, and the module that gave it."""
    module = example_module(term, batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            value = module(batch)
        except Exception as error:
            shapes = [tuple(value.shape) for value in (*batch.students, *batch.teachers)]
            unequal = len({shape[1] for shape in shapes}) > 1
            hint = "; a loss that needs equal channels overrides equal_channels" if unequal else ""
            raise AssertionError(
                f"{term.loss}: fails with {kind_and_line(error)}, for maps of the shapes {shapes}{hint}"
            ) from error
    _require(
        isinstance(value, Tensor) and value.shape == () and value.dtype == torch.float32,
        f"{term.loss}: the value must be a float32 scalar, got {_shown(value)}",
    )
    _require(bool(value.isfinite()), f"{term.loss}: the value must be finite, got {value:.4g}")
    _require(value.requires_grad, f"{term.loss}: the value must have a gradient")
    value.backward()
    return value.detach(), module


# Methods


def check_method(method: Method | str) -> None:
    """Check a method: its config survives JSON, its terms train, and its search ranges are valid and hold the defaults.

    Args:
        method: The method, or the name by which a spec refers to it.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If there is no such method.
    """
    method = get_method(method) if isinstance(method, str) else method
    _require(bool(method.title), f"method {method.name}: a title is required")
    _require(
        all(note.startswith(STATUSES) for note in method.notes.values()),
        f"method {method.name}: a note starts with one of {', '.join(STATUSES)}",
    )
    for units in get_args(Units):
        terms, search = method.defaults(units)
        _check_terms(method, terms)
        by_name = {term.name: term for term in terms}
        for path, domain in search.items():
            name, _, option = path.partition(".")
            if option != "pull":
                _check_domain(f"method {method.name}: the search of {path}", by_name[name], option, domain)
    for name, pull in method.pulls.items():
        _require(
            pull.low >= LEAST_PULL and pull.high <= LARGEST_SEARCHED_PULL,
            f"method {method.name}: the pulls of {name} must lie within {LEAST_PULL:g} and "
            f"{LARGEST_SEARCHED_PULL:g}, got {pull}",
        )


def _check_terms(method: Method, terms: Sequence[Term]) -> None:
    config = TrainConfig(terms=tuple(terms), teacher=TEACHER if method.needs_teacher else None)
    again = TrainConfig.parse(json.loads(config.model_dump_json()))
    _require(
        again == config and again.config_id == config.config_id,
        f"method {method.name}: the config must be the same after a way through JSON",
    )
    for term in terms:
        _require(find_term(term.loss) is type(term), f"method {method.name}: {term.loss} must lead to its class")
        _backward(term, example_input(term))


def _check_domain(at: str, term: Term, option: str, domain: Domain) -> None:
    default = getattr(term, option)
    if isinstance(domain, Choice):
        _require(default in domain.choices, f"{at} must hold the default {default!r}, got {list(domain.choices)}")
        ends: tuple[object, ...] = domain.choices
    else:
        ends = (int(domain.low), int(domain.high)) if domain.integer else (domain.low, domain.high)
        _require(domain.low <= default <= domain.high, f"{at} must hold the default {default!r}, got {ends}")
        _require(domain.log or option != "weight", f"{at}: a weight is searched on a log scale")
    for end in ends:
        try:
            parse_term({**term.model_dump(), option: end})
        except InputError as error:
            raise AssertionError(f"{at}: the value {end!r} is not allowed: {error}") from None


# Data sets


def check_data(data: DataSet | Mapping[str, object], data_root: Path | None = None, images: int = 8) -> None:
    """Check a data set: its config, and for each role its ids, groups, digest, and some of its images.

    Args:
        data: The config, as an object or as it stands in a spec.
        data_root: The folder in which data sets lie.
        images: Images of each role that are read, spread over it.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If the data set does not exist, or its files are not there.
    """
    config = parse_data(data)
    at = f"data set {config.name}"
    content = config.model_dump_json()
    again = parse_data(json.loads(content))
    _require(again == config and type(again) is type(config), f"{at}: the config must be the same after JSON")
    _require(data_root is None or str(data_root) not in content, f"{at}: the config must not hold the data root")
    try:
        parse_data({**config.model_dump(), "no_such_option": 1})
    except (InputError, ValidationError):
        pass
    else:
        raise AssertionError(f"{at}: the config must refuse unknown keys; derive the class from DataSet alone")
    source, reopened = open_data(config, data_root), open_data(config, data_root)
    _check_classes(at, source)
    roles = [role for role in ROLES if role != "test" or config.has_test]
    for role in roles:
        _check_role(f"{at}, role {role}", source, reopened, role, images)
    for first, second in combinations(roles, 2):
        _check_disjoint(at, source, first, second, images)
    digests = [source.digest(role) for role in roles]
    _require(len(set(digests)) == len(digests), f"{at}: each role must have another digest")
    for role in ("no such role", *(() if config.has_test else ("test",))):
        try:
            source.ids(role)
        except InputError:
            continue
        raise AssertionError(f"{at}: ids({role!r}) must raise InputError")
    with TemporaryDirectory() as cache:
        stored = open_role(config, "train", data_root, Path(cache))
        _require(stored.ids == source.ids("train"), f"{at}: the image cache must hold the ids of the role train")


def _check_classes(at: str, source: DataSource) -> None:
    classes, palette = source.classes, source.palette
    _require(
        isinstance(classes, tuple) and all(isinstance(name, str) and name for name in classes),
        f"{at}: classes must be a tuple of names, got {classes!r}",
    )
    _require(2 <= len(classes) <= 255, f"{at}: there must be 2 to 255 classes, got {len(classes)}")
    _require(len(set(classes)) == len(classes), f"{at}: classes must differ, got {classes!r}")
    _require(
        len(palette) == len(classes) and all(len(color) == 3 and set(color) <= set(range(256)) for color in palette),
        f"{at}: the palette must hold one color (0 to 255 for red, green and blue) per class, got {palette!r}",
    )
    _require(source.ignore_index == IGNORED, f"{at}: ignore_index must be {IGNORED}, got {source.ignore_index}")


def _check_role(at: str, source: DataSource, reopened: DataSource, role: str, images: int) -> None:
    ids = source.ids(role)
    _require(
        isinstance(ids, tuple) and bool(ids) and all(isinstance(image_id, str) for image_id in ids),
        f"{at}: ids must be a tuple of at least one text, got {_shown(ids)}",
    )
    _require(len(set(ids)) == len(ids), f"{at}: the ids must differ")
    _require(all(isinstance(source.group(image_id), str) for image_id in ids), f"{at}: a group must be a text")
    for what, of in (("ids", source.ids), ("digest", source.digest), ("listing", source.listing)):
        _require(of(role) == getattr(reopened, what)(role), f"{at}: {what} must be the same whenever it is opened")
    for what, key in (("digest", source.digest(role)), ("listing", source.listing(role))):
        _require(
            isinstance(key, str) and key.isalnum() and (what == "listing" or len(key) == 32),
            f"{at}: the {what} must be a text of letters and digits, the digest of 32 of them, got {key!r}",
        )
    for image_id in _spread(ids, images):
        image, labels = source.read(role, image_id)
        at_image = f"{at}, image {image_id}"
        _require(
            image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3,
            f"{at_image}: the image must be uint8 (H, W, 3), got {_shown(image)}",
        )
        _require(
            labels.dtype == np.uint8 and labels.shape == image.shape[:2],
            f"{at_image}: the labels must be uint8 of the image's height and width, got {_shown(labels)}",
        )
        wrong = set(np.unique(labels).tolist()) - set(range(len(source.classes))) - {IGNORED}
        _require(
            not wrong, f"{at_image}: labels must be 0 to {len(source.classes) - 1} or {IGNORED}, got {sorted(wrong)}"
        )
        same = map(np.array_equal, (image, labels), reopened.read(role, image_id))
        _require(all(same), f"{at_image}: must be the same whenever it is read")


def _check_disjoint(at: str, source: DataSource, first: str, second: str, images: int) -> None:
    twice = set(source.ids(first)) & set(source.ids(second))
    contents: dict[str, dict[bytes, str]] = {}
    for role in (first, second):
        ids = source.ids(role)
        chosen = {*_spread(ids, images), *_spread([image_id for image_id in ids if image_id in twice], images)}
        contents[role] = {source.read(role, image_id)[0].tobytes(): image_id for image_id in sorted(chosen)}
    if shared := set(contents[first]) & set(contents[second]):
        image_id = contents[first][min(shared)]
        raise AssertionError(f"{at}: no image may be in two roles, but {image_id} is in {first} and in {second}")


def _spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """At most so many of the ids, evenly spread."""
    return tuple(ids[i] for i in sorted({round(place) for place in np.linspace(0, len(ids) - 1, count)})) if ids else ()


def _shown(value: object) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype} {tuple(value.shape)}"
    return repr(value)[:80]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
