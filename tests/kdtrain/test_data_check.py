"""A look at a whole data set: what is counted, and that every bad file is named."""

import numpy as np
import pytest
from camvid_tree import put, put_camvid, put_pair

from kdtrain import InputError
from kdtrain.data import CamVid, Streets, Unlabelled
from kdtrain.data.check import check_role


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
