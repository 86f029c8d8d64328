"""What Ray leaves in the temporary folder: the session of a sweep's own cluster is removed, others are left."""

import pytest

from kdtrain.runtime import scratch
from sweeps.launch import session_folder as module
from sweeps.launch.session_folder import session_folder


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_YOUNG_S", 0.0)
    folder = tmp_path / "session_mine"
    (folder / "logs").mkdir(parents=True)
    monkeypatch.setattr(module, "_session", lambda: folder)
    return folder


def left(session):
    return sorted(path.name for path in session.parent.iterdir())


def test_a_session_is_removed_with_what_killed_drivers_left(session):
    (session.parent / "session_killed" / "kdsweep").mkdir(parents=True)
    (session.parent / "session_of_another_program" / "logs").mkdir(parents=True)
    with session_folder():
        assert left(session) == ["session_mine", "session_of_another_program"]
    assert left(session) == ["session_of_another_program"]


def test_the_logs_of_a_session_that_ended_by_an_error_stay_until_the_next_start(session, monkeypatch):
    with pytest.raises(KeyError), session_folder():
        raise KeyError
    assert left(session) == ["session_mine"]
    following = session.with_name("session_next")
    following.mkdir()
    monkeypatch.setattr(module, "_session", lambda: following)
    with session_folder():
        assert left(session) == ["session_next"]


def test_a_session_in_use_is_left(session, monkeypatch):
    with session_folder():
        other = session.with_name("session_other")
        other.mkdir()
        monkeypatch.setattr(module, "_session", lambda: other)
        with session_folder():
            assert left(session) == ["session_mine", "session_other"]


def test_a_version_of_ray_that_does_not_tell_its_session_is_no_error(monkeypatch):
    monkeypatch.setattr(module, "_session", lambda: None)
    with session_folder():
        pass
