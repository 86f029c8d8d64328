"""CIRKD against its definition; its memory: what is remembered, drawn, saved."""

import pytest
import torch
import torch.nn.functional as F
from loss_checks import EveryLoss, check, labels_for, maps, serves_all

from kdtrain.losses import cross_image, cross_image_relation, memory_relation
from kdtrain.methods import TermInput
from kdtrain.methods.cirkd import MemoryRelation
from kdtrain.methods.modules.cirkd import Queue, choose

torch.set_num_threads(1)


def unit(features):
    """`(C, H, W)` as columns of length 1; zero stays zero."""
    columns = features.flatten(1)
    return columns / columns.norm(dim=0).clamp_min(1e-30)


def kl(teacher, student):
    """Of every row."""
    log_t, log_s = F.log_softmax(teacher, 1), F.log_softmax(student, 1)
    return (log_t.exp() * (log_t - log_s)).sum(1)


def batch_definition(temperature=0.1, scope="pair", pool=1):
    def definition(s, t):
        s, t = (F.avg_pool2d(side, pool, pool, ceil_mode=True) for side in (s, t))
        s, t = ([unit(image) for image in side] for side in (s, t))
        if scope == "batch":
            s, t = [torch.cat(s, 1)], [torch.cat(t, 1)]
        pairs = [(a, b) for a in range(len(s)) for b in range(len(s))]
        rows = [kl(t[a].T @ t[b] / temperature, s[a].T @ s[b] / temperature).mean() for a, b in pairs]
        return torch.stack(rows).mean()

    return definition


KEYS = F.normalize(torch.randn(13, 11, generator=torch.Generator().manual_seed(5)), dim=1)
LABELS = labels_for((3, 6, 7), 4, ignored=0.3)


def keys_for(channels):
    return F.normalize(KEYS[:, :channels], dim=1)


def truth_for(side):
    return LABELS[: len(side), : side.shape[2], : side.shape[3]]


def memory_loss(s, t, temperature=0.1, kd_temperature=1.0):
    return memory_relation(s, t, keys_for(s.shape[1]), truth_for(s), temperature, kd_temperature=kd_temperature)


def memory_definition(temperature=0.1, kd_temperature=1.0):
    def definition(s, t):
        keys, kept = keys_for(s.shape[1]).to(s), truth_for(s).flatten(1) != 255
        sharp = 1 / (temperature * kd_temperature)
        rows = [
            kl(unit(b).T @ keys.T * sharp, unit(a).T @ keys.T * sharp)[k] for a, b, k in zip(s, t, kept, strict=True)
        ]
        return kd_temperature**2 * torch.cat(rows).mean()

    return definition


LOSSES = {
    "batch": (cross_image_relation, batch_definition()),
    "batch together": (lambda s, t: cross_image_relation(s, t, scope="batch"), batch_definition(scope="batch")),
    "batch pooled": (lambda s, t: cross_image_relation(s, t, 0.5, pool=2), batch_definition(0.5, pool=2)),
    "memory": (memory_loss, memory_definition()),
    "memory softened": (lambda s, t: memory_loss(s, t, 0.2, 3.0), memory_definition(0.2, 3.0)),
}


@pytest.mark.parametrize("name", LOSSES)
class TestEveryRelation(EveryLoss):
    LOSSES = LOSSES


class TestBatch:
    @pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
    def test_other_channels_and_temperatures(self, temperature):
        student, _ = maps((2, 3, 4, 5))
        _, teacher = maps((2, 7, 4, 5))
        check(
            lambda s, t: cross_image_relation(s, t, temperature),
            batch_definition(temperature),
            student,
            teacher,
            rtol=1e-4,
        )

    def test_blocks_change_nothing(self, monkeypatch):
        monkeypatch.setattr(cross_image, "BLOCK_ELEMENTS", 100)
        monkeypatch.setattr(cross_image, "LEAST_ROWS", 3)
        check(cross_image_relation, batch_definition(), *maps((2, 5, 4, 6)))

    def test_true_value_of_1e_8(self):
        student, noise = maps((2, 16, 12, 12))
        teacher = student.detach() + 1e-4 * noise
        exact = batch_definition()(student.detach().double(), teacher.double())
        assert 1e-9 < exact < 1e-7
        torch.testing.assert_close(cross_image_relation(student, teacher).double(), exact, rtol=1e-4, atol=0)

    def test_gradient_is_scaled_by_what_comes_after(self):
        student, teacher = maps((2, 5, 4, 6))
        (plain,) = torch.autograd.grad(cross_image_relation(student, teacher), student)
        (scaled,) = torch.autograd.grad(3 * cross_image_relation(student, teacher), student)
        torch.testing.assert_close(scaled, 3 * plain)

    def test_without_a_gradient_none_is_computed(self):
        student, teacher = maps((2, 5, 4, 6))
        with torch.no_grad():
            value = cross_image_relation(student, teacher)
        assert not value.requires_grad
        torch.testing.assert_close(value, cross_image_relation(student, teacher).detach())

    def test_no_matrix_of_all_pairs(self):
        """The definition keeps several matrices of 64 MiB here, and of 1 GiB at 64 x 128."""
        student, teacher = maps((2, 8, 32, 64))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
            cross_image_relation(student, teacher).backward()
        largest = max(event.self_cpu_memory_usage for event in profiler.events())
        assert 2**18 < largest < (2 * 32 * 64) ** 2 * 4 / 30

    def test_one_graph_serves_every_temperature(self):
        student, teacher = maps((2, 5, 4, 6))
        serves_all(cross_image_relation, student.detach(), teacher, (0.05, 0.1, 0.5))

    def test_wrong_options_are_named(self):
        with pytest.raises(ValueError, match="scope must be pair or batch, got 'image'"):
            cross_image_relation(*maps((1, 2, 3, 3)), scope="image")


class TestMemoryRelation:
    def test_labels_are_brought_to_the_map(self):
        student, teacher = maps((2, 5, 4, 6))
        labels = labels_for((2, 8, 12), 4)
        keys = keys_for(5)
        torch.testing.assert_close(
            memory_relation(student, teacher, keys, labels),
            memory_relation(student, teacher, keys, labels[:, ::2, ::2]),
        )

    def test_ignored_pixels_get_no_gradient(self):
        student, teacher = maps((1, 5, 2, 3))
        labels = torch.tensor([[[0, 255, 1], [255, 2, 2]]])
        memory_relation(student, teacher, keys_for(5), labels).backward()
        assert ((student.grad.abs().sum(1) > 0) == (labels != 255)).all()

    def test_no_labelled_pixel_gives_zero(self):
        student, teacher = maps((1, 5, 2, 3))
        value = memory_relation(student, teacher, keys_for(5), torch.full((1, 2, 3), 255))
        value.backward()
        assert value == 0
        assert student.grad.abs().max() == 0


class TestChoose:
    member = torch.tensor([[1, 0, 0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0, 0, 0], [0] * 8], dtype=torch.bool)

    two_images = torch.stack([~member, member])

    def chosen(self, **options):
        found = set()
        for seed in range(50):
            order = torch.rand(8, generator=torch.Generator().manual_seed(seed))
            positions, kept = (
                each[1] for each in choose(self.two_images, torch.stack([1 - order, order]), 3, **options)
            )
            assert kept.tolist() == [[True] * 3, [True, False, False], [False] * 3]
            assert len(set(positions[0].tolist())) == 3
            found |= {(c, p) for c in range(3) for p in positions[c, kept[c]].tolist()}
        return found

    def test_right_pixels_of_every_class(self):
        assert self.chosen() == {(0, 0), (0, 3), (0, 5), (0, 6), (1, 2)}

    def test_published_bug_takes_the_first_of_the_image(self):
        assert self.chosen(queue_bug=True) == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)}


class TestQueue:
    def test_random_unit_vectors_at_first_and_only_once(self):
        queue = Queue(3, 5, 7)
        queue.begin(torch.Generator().manual_seed(0))
        torch.testing.assert_close(queue.vectors.norm(dim=2), torch.ones(3, 5))
        before = queue.vectors.clone()
        queue.begin(torch.Generator().manual_seed(1))
        assert (queue.vectors == before).all()

    def test_first_in_first_out_and_only_what_is_kept(self):
        queue = Queue(2, 3, 1)
        kept = torch.tensor([[1, 1], [1, 0]])
        for step in range(1, 3):
            queue.add(torch.tensor([[[[10.0 * step], [10.0 * step + 1]], [[20.0 * step], [-1.0]]]]), kept[None])
        assert queue.vectors.flatten(1).tolist() == [[21, 11, 20], [20, 40, 0]]
        assert queue.ends.tolist() == [1, 2]

    def test_takes_no_more_than_it_holds(self):
        queue = Queue(1, 2, 1)
        queue.add(torch.tensor([[[[1.0], [2.0], [3.0]]]]), torch.ones(1, 1, 3))
        assert queue.vectors.flatten().tolist() == [1, 2]

    @pytest.mark.parametrize("size", [1, 4, 7, 100])
    def test_a_batch_is_remembered_as_its_images_one_by_one(self, size):
        source = torch.Generator().manual_seed(0)
        at_once, one_by_one = Queue(3, size, 2), Queue(3, size, 2)
        for _ in range(6):
            vectors = torch.randn(4, 3, 3, 2, generator=source)
            kept = torch.arange(3) < torch.randint(4, (4, 3, 1), generator=source)
            at_once.add(vectors, kept)
            for image, some in zip(vectors, kept, strict=True):
                one_by_one.add(image[None], some[None])
            assert torch.equal(at_once.vectors, one_by_one.vectors)
            assert torch.equal(at_once.ends, one_by_one.ends)

    def test_draws_the_same_places_of_every_class(self):
        queue = Queue(2, 9, 1)
        queue.vectors.copy_(torch.arange(18.0).view(2, 9, 1))
        drawn = queue.draw(4, torch.Generator().manual_seed(0)).view(2, 4)
        assert (drawn[1] - drawn[0] == 9).all()
        assert len(set(drawn[0].tolist())) == 4
        assert queue.draw(100, None).shape == (18, 1)


def taps(seed, classes=4):
    student, teacher = maps((2, 6, 5, 7), seed=seed)
    teacher = torch.cat([teacher, teacher.flip(1)], 1)
    labels = labels_for((2, 10, 14), classes, seed=seed)
    return TermInput((student,), (teacher,), labels, classes, 255, torch.Generator().manual_seed(seed))


def module_for(**options):
    torch.manual_seed(0)
    sizes = {"pixel_memory": 50, "region_memory": 9, "pixels_drawn": 40, "regions_drawn": 12, "enqueued": 3}
    return MemoryRelation(**sizes | options).module((6, 5, 7), (12, 5, 7), 4)


class TestMemoryModule:
    def test_remembers_embeddings_of_the_right_class(self):
        module, inputs = module_for(), taps(0)
        module(inputs)
        embeddings = F.normalize(inputs.teachers[0], dim=1)
        labels = inputs.labels[:, ::2, ::2]
        for label in range(4):
            count = int(module.pixels.ends[label])
            assert count == sum(min(3, int((image == label).sum())) for image in labels)
            own = torch.cat([e[:, image == label].T for e, image in zip(embeddings, labels, strict=True)])
            distances = torch.cdist(module.pixels.vectors[label, :count], own).min(1).values
            assert distances.max() < 1e-3
            means = [e[:, image == label].mean(1) for e, image in zip(embeddings, labels, strict=True)]
            expected = torch.stack([F.normalize(mean, dim=0) for mean in means])
            torch.testing.assert_close(module.regions.vectors[label, :2], expected)

    def test_published_bug_remembers_other_classes(self):
        module, inputs = module_for(queue_bug=True), taps(0)
        module(inputs)
        labels = inputs.labels[0, ::2, ::2]
        own = F.normalize(inputs.teachers[0], dim=1)[0][:, labels == 3].T
        assert torch.cdist(module.pixels.vectors[3, :3], own).min(1).values.max() > 0.1

    def test_absent_classes_and_ignored_pixels_are_not_remembered(self):
        module, inputs = module_for(), taps(0)
        inputs.labels[inputs.labels == 2] = 255
        module(inputs)
        assert module.pixels.ends[2] == 0
        assert module.regions.ends.tolist() == [2, 2, 0, 2]

    def test_value_is_that_of_the_drawn_keys(self):
        module, inputs = module_for(region=0.5).eval(), taps(0)
        value = module(inputs)
        again = torch.Generator().manual_seed(0)
        for queue in (module.pixels, module.regions):
            torch.randn(queue.vectors.shape, generator=again)
        student = module.project(inputs.student)
        terms = [
            memory_relation(student, inputs.teachers[0], queue.draw(count, again), inputs.labels)
            for queue, count in ((module.pixels, 11), (module.regions, 4))
        ]
        torch.testing.assert_close(value, terms[0] + 0.5 * terms[1])

    def test_trains_projector_and_student_only(self):
        module, inputs = module_for(), taps(0)
        module(inputs).backward()
        assert inputs.student.grad.abs().max() > 0
        assert all(p.grad.abs().max() > 0 for p in module.parameters())
        assert not any(b.requires_grad for b in module.buffers())

    def test_resumed_equals_uninterrupted(self):
        straight, first, second = module_for(), module_for(), module_for()
        whole = [straight(taps(step)).item() for step in range(4)]
        parts = [first(taps(step)).item() for step in range(2)]
        second.load_state_dict(first.state_dict())
        parts += [second(taps(step)).item() for step in range(2, 4)]
        assert parts == whole
        assert (second.pixels.vectors == straight.pixels.vectors).all()

    def test_autocast_keeps_what_is_remembered(self):
        plain, mixed = module_for(), module_for()
        plain(taps(0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = mixed(taps(0))
        assert value.dtype == torch.float32
        torch.testing.assert_close(mixed.regions.vectors, plain.regions.vectors)
        torch.testing.assert_close(mixed.pixels.vectors, plain.pixels.vectors)

    def test_value_falls_when_trained(self):
        module, inputs = module_for(), taps(0)
        optimizer = torch.optim.Adam([*module.parameters(), inputs.student], lr=0.03)
        values = []
        for _ in range(40):
            optimizer.zero_grad()
            values.append(module(inputs))
            values[-1].backward()
            optimizer.step()
        assert values[-1] < values[0] / 3
