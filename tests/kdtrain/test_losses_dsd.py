"""Double similarity against its definition, written out."""

import pytest
import torch
import torch.nn.functional as F
from loss_checks import EveryLoss, check, maps, serves_all

from kdtrain.losses import category_similarity, pixel_similarity

torch.set_num_threads(1)


def layers(side):
    """Three maps made of one without rounding, with different channels."""
    return side, side[:, :2].flip(2, 3), 2 * side[:, 1:].roll(1, 3)


def unit(vector):
    return vector / vector.norm().clamp_min(1e-12)


def pixel_definition(pairs):
    def definition(s, t):
        total = 0.0
        for earlier, later in pairs:
            for image in range(len(s)):
                residual = []
                for side in (s, t):
                    a, b = (unit(layers(side)[n][image].square().mean(0).flatten()) for n in (earlier, later))
                    residual.append(unit(b - a))
                total = total + (residual[0] - residual[1]).square().mean()
        return total / (len(pairs) * len(s))

    return definition


def category_definition(form, softmax, pool=2):
    def definition(s, t):
        total = 0.0
        for images in zip(*(F.avg_pool2d(side, pool, pool, ceil_mode=True) for side in (s, t)), strict=True):
            products = []
            for image in images:
                q = torch.softmax(image.flatten(1) / 4, 1 if softmax == "space" else 0)
                q = q / q.norm(dim=1, keepdim=True) if form == "rows" else q
                products.append(torch.stack([torch.stack([a @ b for b in q]) for a in q]))
            total = total + (products[0] - products[1]).square().mean()
        return total / len(s)

    return definition


LOSSES = {
    "pixel_similarity": (
        lambda s, t: pixel_similarity(layers(s), layers(t)),
        pixel_definition([(0, 1), (0, 2), (1, 2)]),
    ),
    "pixel_similarity adjacent": (
        lambda s, t: pixel_similarity(layers(s), layers(t), pairs="adjacent"),
        pixel_definition([(0, 1), (1, 2)]),
    ),
    **{
        f"category_similarity {form} {softmax}": (
            lambda s, t, f=form, a=softmax: category_similarity(s, t, form=f, softmax=a),
            category_definition(form, softmax),
        )
        for form in ("code", "rows")
        for softmax in ("space", "class")
    },
}


@pytest.mark.parametrize("name", LOSSES)
class TestEverySimilarity(EveryLoss):
    LOSSES = LOSSES


def test_pooling_of_categories():
    check(
        lambda s, t: category_similarity(s, t, pool=1, form="rows"),
        category_definition("rows", "space", pool=1),
        *maps((2, 3, 5, 4)),
    )


def test_as_coded_the_categories_count_for_nothing():
    """Why the rows are offered: the published weight of this value is 10."""
    student, teacher = maps((1, 19, 64, 128))
    assert category_similarity(student, teacher) < 1e-10
    assert category_similarity(student, teacher, form="rows") > 1e-6


def test_one_graph_serves_every_temperature():
    student, teacher = maps((2, 5, 4, 6))
    serves_all(category_similarity, student.detach(), teacher)


@pytest.mark.parametrize(
    ("students", "teachers"), [([0], [0]), ([0, 1], [0]), ([0, 1], [0, 2]), ([0, 3], [0, 1])], ids=str
)
def test_layers_that_cannot_be_compared_are_refused(students, teachers):
    shapes = [(2, 3, 4, 4), (2, 5, 4, 4), (2, 3, 8, 8), (1, 3, 4, 4)]
    with pytest.raises(ValueError, match=r"pixel_similarity needs .* got .*\(2, 3, 4, 4\)"):
        pixel_similarity([torch.zeros(shapes[n]) for n in students], [torch.zeros(shapes[n]) for n in teachers])


def test_unknown_options_are_named():
    student, teacher = maps((1, 2, 3, 3))
    with pytest.raises(ValueError, match="pairs must be all or adjacent, got 'first'"):
        pixel_similarity(layers(student), layers(teacher), pairs="first")
    with pytest.raises(ValueError, match="form must be code or rows, got 'paper'"):
        category_similarity(student, teacher, form="paper")
    with pytest.raises(ValueError, match="softmax must be space or class, got 'both'"):
        category_similarity(student, teacher, softmax="both")
