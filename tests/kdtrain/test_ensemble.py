import pytest
import torch
import torch.nn.functional as F

from kdtrain import train
from kdtrain.errors import InputError
from kdtrain.losses import pixel_kd
from kdtrain.models import Network, build_network, check_layers
from kdtrain.teacher import WEIGHTS, load_model, make_ensemble, read_card, save_model

CLASSES = ("road", "car", "sky")
TINY = Network(arch="tiny_networks:tiny", options={"width": 4, "dropout": 0.0})
OTHER = Network(arch="tiny_networks:tiny", options={"width": 6, "dropout": 0.0}, mean=(0.2, 0.3, 0.4))
UNET = Network(arch="Unet", encoder="tu-mobilenetv3_small_050")
IMAGES = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def save(folder, seed, network=TINY, classes=CLASSES, sharp=1.0, **facts):
    net = build_network(network, len(classes), seed).net
    if network is not UNET:
        net.head.weight.data *= sharp
    save_model(folder, net, {"network": network, "classes": classes, "trained_on": "streets"} | facts)
    return folder


@pytest.fixture
def members(tmp_path):
    """Two teachers."""
    return [
        save(tmp_path / "a", 1, sharp=9.0, macs=100, seconds=2.0),
        save(tmp_path / "b", 2, OTHER, sharp=9.0, macs=50, seconds=3.0),
    ]


def logits(folder, images=IMAGES):
    with torch.no_grad():
        return load_model(folder)[1].logits(images)


def probabilities(scores, temperature):
    return F.softmax(scores.double() / temperature, 1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("flip", [False, True])
def test_a_term_of_the_same_temperature_sees_the_mean_of_probabilities(members, tmp_path, temperature, flip):
    make_ensemble(members, tmp_path / "all", temperature=temperature, flip=flip)
    member_logits = [logits(member) for member in members]
    if flip:
        member_logits += [logits(member, IMAGES.flip(-1)).flip(-1) for member in members]
    mean = torch.stack([probabilities(each, temperature) for each in member_logits]).mean(0)
    averaged = logits(tmp_path / "all")
    torch.testing.assert_close(probabilities(averaged, temperature), mean, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(mean, probabilities(member_logits[0], temperature), atol=1e-2)
    student = torch.randn(averaged.shape)
    kl = (mean * (mean.log() - F.log_softmax(student.double() / temperature, 1))).sum(1).mean()
    torch.testing.assert_close(
        pixel_kd(student, averaged, temperature).double(), temperature**2 * kl, rtol=1e-5, atol=0
    )


def test_logits_are_averaged_where_that_is_asked_for(members, tmp_path):
    make_ensemble(members, tmp_path / "all", average="logit")
    torch.testing.assert_close(logits(tmp_path / "all"), (logits(members[0]) + logits(members[1])) / 2)


def test_logits_of_other_sizes_are_brought_to_the_first(members, tmp_path):
    make_ensemble([members[0], save(tmp_path / "c", 3, UNET)], tmp_path / "all", average="logit")
    first, other = logits(members[0]), logits(tmp_path / "c")
    assert first.shape != other.shape
    resized = F.interpolate(other, size=first.shape[-2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits(tmp_path / "all"), (first + resized) / 2)


def test_one_network_and_its_mirror_image(members, tmp_path):
    make_ensemble(members[:1], tmp_path / "mirrored", flip=True)
    averaged = logits(tmp_path / "mirrored")
    torch.testing.assert_close(averaged, logits(tmp_path / "mirrored", IMAGES.flip(-1)).flip(-1))


def test_extreme_logits_stay_exact(members, tmp_path):
    make_ensemble([save(tmp_path / "x", 1, sharp=1e5), save(tmp_path / "y", 2, sharp=1e5)], tmp_path / "all")
    averaged = logits(tmp_path / "all")
    assert averaged.isfinite().all()
    mean = (probabilities(logits(tmp_path / "x"), 1) + probabilities(logits(tmp_path / "y"), 1)) / 2
    torch.testing.assert_close(probabilities(averaged, 1), mean, rtol=1e-4, atol=1e-6)


def test_its_card(members, tmp_path):
    card = make_ensemble(members, tmp_path / "all", flip=True)
    cards = [read_card(member) for member in members]
    assert card == read_card(tmp_path / "all")
    assert card.members == tuple(one.digest for one in cards)
    assert card.params == sum(one.params for one in cards)
    assert (card.classes, card.source, card.trained_on) == (CLASSES, "ensemble", "streets")
    assert (card.macs, card.seconds) == (300, 5.0)
    assert card.network.title == "ensemble of tiny_networks:tiny, tiny_networks:tiny"
    assert make_ensemble([*members, save(tmp_path / "d", 3)], tmp_path / "three").macs is None


def test_its_digest_covers_members_and_averaging(members, tmp_path):
    made = [
        make_ensemble(members, tmp_path / "0"),
        make_ensemble(members[::-1], tmp_path / "1"),
        make_ensemble(members, tmp_path / "2", average="logit"),
        make_ensemble(members, tmp_path / "3", temperature=2.0),
        make_ensemble(members, tmp_path / "4", flip=True),
        make_ensemble([members[0], save(tmp_path / "d", 7, OTHER)], tmp_path / "5"),
    ]
    assert len({card.digest for card in made}) == len(made)
    assert make_ensemble(members, tmp_path / "6").digest == made[0].digest


def test_it_has_logits_alone(members, tmp_path):
    card = make_ensemble(members, tmp_path / "all")
    _, network = load_model(tmp_path / "all")
    assert set(network.tap(["logits"])(IMAGES)) == {"logits"}
    for layer in ("decoder", "encoder.1", "members.0.net.body"):
        with pytest.raises(InputError, match=f"layer '{layer}': an ensemble only has the layer logits"):
            check_layers(card.network, 3, [layer], (32, 48))
    assert check_layers(card.network, 3, ["logits"], (32, 48)) == {"logits": (3, 8, 12)}


def test_damaged_weights_are_refused(members, tmp_path):
    make_ensemble(members, tmp_path / "all")
    content = bytearray((tmp_path / "all" / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (tmp_path / "all" / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_model(tmp_path / "all")


@pytest.mark.parametrize(
    ("chosen", "options", "message"),
    [
        ("a", {}, "needs at least 2 teachers, or 1 and --flip, got 1"),
        ("", {"flip": True}, "needs at least 2 teachers, or 1 and --flip, got 0"),
        ("ae", {}, "e has 2 classes"),
        ("af", {}, "f is an ensemble itself"),
        ("ag", {}, "g is not a teacher folder"),
        ("ab", {"temperature": 0.0}, "temperature: "),
        ("ab", {"average": "max"}, "average: "),
        ("az", {}, "z is one of the members"),
    ],
)
def test_wrong_members_are_refused_in_one_sentence(members, tmp_path, chosen, options, message):
    save(tmp_path / "e", 1, classes=CLASSES[:2])
    save(tmp_path / "z", 1)
    make_ensemble(members, tmp_path / "f")
    before = (tmp_path / "z" / WEIGHTS).read_bytes()
    with pytest.raises(InputError) as error:
        make_ensemble([tmp_path / name for name in chosen], tmp_path / "z", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "z" / WEIGHTS).read_bytes() == before


def test_a_student_learns_from_an_ensemble(teacher, machine, make_config, select, tmp_path):
    second = save(tmp_path / "second", 5, classes=select.classes)
    card = make_ensemble([teacher[0], second], tmp_path / "both", temperature=1.0)
    config = make_config("kd", teacher=card.digest, epochs=1)
    result = train(config, machine.model_copy(update={"teacher": tmp_path / "both"}), workdir=tmp_path / "run")
    assert result.state == "complete"
    assert result.reports[0].losses["pixel_kd"]["raw"] > 0
    with pytest.raises(InputError, match="set teacher_layer to logits"):
        train(
            make_config("cskd", teacher=card.digest, epochs=1),
            machine.model_copy(update={"teacher": tmp_path / "both"}),
        )
