"""A look at a whole data set: what is counted, and that every bad file is named."""

import numpy as np
import pytest
from camvid_tree import put, put_camvid, put_pair

from kdtrain import InputError
from kdtrain.data import CamVid, Streets, Unlabelled
from kdtrain.data.check import check_role
from kdtrain.data.store import open_store


@pytest.fixture
def camvid(tmp_path):
    return put_camvid(tmp_path / "data")


def test_what_a_role_holds_is_counted(camvid):
    told = []
    found = check_role(CamVid().open(camvid), "train", lambda done, total: told.append((done, total)))
    assert (found.role, found.images, found.bad) == ("train", 4, ())
    assert found.sizes == {(2, 3): 3, (1, 4): 1}
    assert found.pixels.tolist() == [6, 3, 0, 9, *[0] * 7]
    assert found.ignored == 4
    assert found.ignored_share == pytest.approx(4 / 22)
    np.testing.assert_allclose(found.shares[[0, 1, 3]], [6 / 18, 3 / 18, 9 / 18])
    assert found.absent == ("Pole", *found.classes[4:])
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_all_bad_files_are_found_each_with_its_reason(camvid):
    root = camvid / "camvid"
    (root / "train" / "01_0.png").write_bytes(b"no image")
    put_pair(root, "train", "01_1", [[0, 1]], size=(2, 2))
    put_pair(root, "train", "01_2", [[0, 99], [12, 1]])
    for folder in ("train", "trainannot"):
        (root / folder / "02_wide.png").write_bytes(b"")
    found = check_role(CamVid().open(camvid), "train")
    reasons = dict(found.bad)
    assert list(reasons) == ["01_0", "01_1", "01_2", "02_wide"]
    assert "cannot read the image file" in reasons["01_0"]
    assert "is 2x2 pixels, its label map" in reasons["01_1"]
    assert "holds the id 12, 99, allowed are 0 to 11, 255" in reasons["01_2"]
    assert reasons["02_wide"].count("cannot read the image file") == 2
    assert (found.images, found.pixels.sum(), found.ignored) == (4, 0, 0)
    assert np.isnan(found.shares).all()
    assert np.isnan(found.ignored_share)


def test_a_role_that_is_not_there_is_an_error(camvid):
    with pytest.raises(InputError, match="role test"):
        check_role(CamVid().open(camvid), "test")


def test_other_sources_can_be_looked_at_too(tmp_path):
    found = check_role(Streets(size=(32, 32), counts={"train": 3}).open(), "train")
    assert (found.images, found.sizes) == (3, {(32, 32): 3})
    put(tmp_path / "extra" / "a.png", np.zeros((4, 6, 3)))
    (tmp_path / "extra" / "b.png").write_bytes(b"")
    extra = check_role(Unlabelled(images="extra", per_batch=1).open(tmp_path), "unlabelled")
    assert (extra.sizes, len(extra.bad), extra.ignored) == ({(4, 6): 1}, 1, 24)


class TwoClasses:
    """A source of somebody else whose labels nobody has checked."""

    classes, palette, ignore_index = ("dark", "light"), ((0, 0, 0), (9, 9, 9)), 255

    def __init__(self, label):
        self.label = label

    def ids(self, role):
        return ("good", "bad")

    def group(self, image_id):
        return image_id

    def read(self, role, image_id):
        labels = np.array([[0, 1], [255, self.label if image_id == "bad" else 1]], dtype=np.uint8)
        return np.zeros((2, 2, 3), dtype=np.uint8), labels

    def listing(self, role):
        return f"two-{self.label}"

    def digest(self, role):
        return f"{self.label:032d}"


def test_labels_that_are_no_class_are_named_by_the_check_and_before_training(tmp_path):
    found = check_role(TwoClasses(5), "train")
    sentence = "bad: labels must be classes (0 to 1) or 255, which is ignored, got 5"
    assert found.bad == (("bad", sentence),)
    with pytest.raises(InputError, match=r"bad: labels must be classes \(0 to 1\) or 255.* got 5"):
        open_store(TwoClasses(5), "train", tmp_path)
    assert check_role(TwoClasses(1), "train").bad == ()
    assert len(open_store(TwoClasses(1), "train", tmp_path)) == 2
