"""A worker stands where the driver stands, and finds the modules of the user that the driver finds."""

import json
import os
import pickle
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from kdtrain.foreign import Trust, trusted_modules, trusting
from sweeps.launch.driver_setting import DriverSetting
from sweeps.store.store import Store


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = Path.cwd()
    yield
    os.chdir(before)


def test_a_worker_takes_over_folder_modules_and_trust(tmp_path, monkeypatch):
    (tmp_path / "driver").mkdir()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "module_of_a_user_far_away.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(tmp_path / "driver")
    sys.path.append(str(tmp_path / "modules"))
    with trusting(Trust(frozenset({"module_of_a_user_far_away"}))):
        setting = DriverSetting.here()
    assert json.loads(json.dumps(asdict(setting)))["folder"] == str(tmp_path / "driver")
    assert not any("site-packages" in path for path in setting.import_path)
    sys.path.remove(str(tmp_path / "modules"))
    os.chdir(tmp_path)
    for again in (pickle.loads(pickle.dumps(setting)), DriverSetting(**json.loads(json.dumps(asdict(setting))))):
        with again.taken_over():
            assert Path.cwd() == tmp_path / "driver"
            assert __import__("module_of_a_user_far_away").VALUE == 3
            assert trusted_modules() == {"module_of_a_user_far_away"}
        assert sys.path.count(str(tmp_path / "modules")) == 1


def test_a_worker_without_the_drivers_folder_stays_where_it_is(tmp_path):
    with DriverSetting(str(tmp_path / "gone"), (), None).taken_over():
        assert Path.cwd() != tmp_path
        assert trusted_modules() is None


@pytest.mark.parametrize(
    ("address", "folder"),
    [("~/D", "home/D"), ("D", "D"), ("file:///x/a%20b", "/x/a b"), ("a #b [c]", "a #b [c]")],
)
def test_a_store_is_a_folder_of_this_machine_as_the_user_wrote_it(address, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert Store(address).local == tmp_path / folder
    assert Store(str(Store(address))).local == tmp_path / folder
