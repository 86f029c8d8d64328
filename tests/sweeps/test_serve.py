"""The server of `kdsweep serve`: who gets an answer, what is read again, and what a damaged sweep does to others."""

import http.client
import json
import threading
from urllib.parse import quote

import pytest
from called_command import called

from analysis.report import slices
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.ledger import follow, ledger
from sweeps.ledger.follow import Follower
from sweeps.ledger.read_state import read_state
from sweeps.outcome import tabulate
from sweeps.outcome.best_file import trial_config
from sweeps.show import served
from sweeps.show.served import ServedSweep
from sweeps.show.server import HOST, Server
from sweeps.store.store import Store

HOSTILE = '</script><img src=x onerror="alert(1)">'


@pytest.fixture(autouse=True)
def _no_record_waits(monkeypatch):
    monkeypatch.setattr(ledger, "_WAIT_S", 0.0)


@pytest.fixture
def serving():
    """Starts servers, and ends them."""
    servers = []

    def start(*folders):
        server = Server([ServedSweep(str(folder), every=0) for folder in folders])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer, content


def report(driver, *curve):
    trial = driver.next()
    driver.started(trial.id)
    for epoch, miou in enumerate(curve, start=1):
        driver.report(trial.id, EpochReport(epoch, 6, {"miou": miou}, {}, 0.1, {"total": 10.0}, 8))
    driver.tick()
    return trial.id


def test_only_who_has_the_token_gets_an_answer_and_only_on_this_machine(fake, serving, tmp_path):
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        report(driver, 0.3)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    server = serving(tmp_path)
    here, port = f"/{server.token}/", server.server_port
    assert server.server_address[0] == "127.0.0.1"
    answer, page = ask(server, here)
    assert (answer.status, answer.getheader("Cache-Control")) == (200, "no-store")
    assert "script-src 'sha256-" in answer.getheader("Content-Security-Policy")
    assert server.token not in page
    assert ask(server, here, Host=f"localhost:{port}")[0].status == 200
    wrong = [
        ask(server, path)[0].status for path in ("/", "/state", "/wrong/", "//", f"/{server.token[:-1]}/", "/%00/")
    ]
    assert wrong == [403] * 6
    hosts = ["evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1"]
    assert [ask(server, here, Host=host)[0].status for host in hosts] == [403] * 4
    verbs = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
    assert [ask(server, here, verb)[0].status for verb in verbs] == [405] * 6
    places = [
        "sweep/1",
        "sweep/-1",
        "sweep/../0",
        "../../etc/passwd",
        "sweep/0/ledger",
        "state/",
        "sweep/²",
        "index.html",
    ]
    assert [ask(server, here + place)[0].status for place in map(quote, places)] == [404] * 8
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_sweep_is_shown_again_when_it_has_grown_and_a_damaged_one_says_so(fake, serving, tmp_path):
    one, two = tmp_path / HOSTILE.replace("/", "-"), tmp_path / "two"
    with fake.open_driver(fake.make_spec(), two) as driver:
        report(driver, 0.3)
    with fake.open_driver(fake.make_spec(), one) as driver:
        server = serving(one, two, tmp_path / "none")
        first = report(driver, 0.3)
        answers = [json.loads(ask(server, f"/{server.token}/{place}")[1]) for place in ("state", "sweep/0", "state")]
        assert answers[0]["versions"] == answers[2]["versions"]
        assert f'data-trial="{first}"' in answers[1]["body"]
        assert "no sweep in" in answers[0]["overview"]
        second = report(driver, 0.4, 0.5)
        state = json.loads(ask(server, f"/{server.token}/state")[1])
        body = json.loads(ask(server, f"/{server.token}/sweep/0")[1])["body"]
        assert state["versions"][0] > answers[0]["versions"][0]
        assert f'data-trial="{second}"' in body
        for text in (state["overview"], body, ask(server, f"/{server.token}/")[1]):
            assert "<img src=x" not in text
    segment = next((two / "ledger").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b"miou", b"mi_u", 1))
    state = json.loads(ask(server, f"/{server.token}/state")[1])
    assert "does not read" in state["overview"] or "was not written behind" in state["overview"]
    assert "searching" in state["overview"]
    assert 'class="stale"' in json.loads(ask(server, f"/{server.token}/sweep/1")[1])["body"]


@pytest.mark.parametrize(("took", "pause"), [(1.0, 0.0), (3.0, 12.0)])
def test_a_body_that_takes_long_is_drawn_more_seldom(fake, tmp_path, monkeypatch, took, pause):
    now = [100.0]

    def drawn(spec, state, store, runs):
        now[0] += took
        return f"{len(state.trials)} trials"

    monkeypatch.setattr(served, "_body", drawn)
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        report(driver, 0.3)
        sweep = ServedSweep(str(tmp_path), every=0, clock=lambda: now[0])
        first, body = sweep.body()
        assert body == "1 trials"
        report(driver, 0.4)
        now[0] += max(pause - 0.1, 0.1)
        assert sweep.body() == ((first, "1 trials") if pause else (first + 1, "2 trials"))
        assert sweep.glance().version == first + 1
        now[0] += 0.2
        assert sweep.body() == (first + 1, "2 trials")


def test_only_shown_and_drawn_runs_are_tabulated_and_more_are_shown_on_request(fake, serving, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(served, "MOST_RUNS", 4)
    monkeypatch.setattr(slices, "_MOST_DOTS", 4)
    monkeypatch.setattr(slices, "_FEWEST_DOTS", 1)
    make_row = tabulate._trial
    monkeypatch.setattr(tabulate, "_trial", lambda *given: rows.append(given[0].id) or make_row(*given))
    state = fake.run(fake.make_spec(), tmp_path)
    server = serving(tmp_path)

    def body(query=""):
        rows.clear()
        return json.loads(ask(server, f"/{server.token}/sweep/0{query}")[1])["body"]

    first = body()
    assert first.count("<tr tabindex") == 4
    assert len(rows) < len(state.trials) / 2
    assert f"{len(state.trials) - 4} more are in the tables" in first
    assert 'data-runs="8"' in first
    assert body() == first
    assert rows == [], "an unchanged sweep is not drawn again"
    assert body("?runs=8").count("<tr tabindex") == 8
    whole = body("?runs=9999")
    assert whole.count("<tr tabindex") == len(state.trials)
    assert "data-runs" not in whole


def test_the_details_of_a_run_are_made_when_they_are_asked_for(fake, serving, tmp_path):
    state = fake.run(fake.make_spec(), tmp_path)
    server = serving(tmp_path)
    trial = next(trial for trial in state.trials.values() if trial.study == "cwd" and trial.score)
    assert "application/json" not in json.loads(ask(server, f"/{server.token}/sweep/0")[1])["body"]
    answer, content = ask(server, f"/{server.token}/sweep/0/run/{quote(trial.id)}")
    assert answer.status == 200
    data = json.loads(content)
    assert data["place"] == str(tmp_path)
    assert data["base"]["cwd"]["epochs"] == trial.epochs
    assert list(data["runs"]) == [trial.id]
    assert data["runs"][trial.id]["curve"][1][-1] == pytest.approx(100 * trial.score, abs=0.01)
    for wrong in ("sweep/0/run/cwd-99", "sweep/0/run/", "sweep/1/run/cwd-0", "sweep/0/run/cwd-0/x"):
        assert ask(server, f"/{server.token}/{wrong}")[0].status == 404


def test_the_spec_is_read_once_for_a_sweep_that_grows(fake, tmp_path, monkeypatch):
    read = []
    spec_of = served.spec_of
    monkeypatch.setattr(served, "spec_of", lambda *given: read.append(1) or spec_of(*given))
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        sweep = ServedSweep(str(tmp_path), every=0)
        for score in (0.3, 0.4):
            report(driver, score)
            sweep.glance()
    assert read == [1]


def test_what_is_followed_is_what_is_read_at_once(fake, tmp_path, monkeypatch):
    whole = []
    monkeypatch.setattr(follow, "read_state", lambda *given: whole.append(1) or read_state(*given))
    follower = Follower(Store(tmp_path))
    monkeypatch.setattr(ledger, "SEGMENT_BYTES", 4000)
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        assert follower.update()
        for score in (0.3, 0.4, 0.5):
            report(driver, score, score)
            assert follower.update()
            assert not follower.update()
    assert len(list((tmp_path / "ledger").glob("*.jsonl"))) > 2
    assert len(whole) == 1
    state = read_state(tmp_path).state
    assert {trial.id: trial.curve for trial in follower.state.trials.values()} == {
        trial.id: trial.curve for trial in state.trials.values()
    }
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:  # another driver takes over
        report(driver, 0.6)
    assert follower.update()
    assert len(whole) == 2
    assert follower.state.last == read_state(tmp_path).state.last
    last = sorted((tmp_path / "ledger").glob("*.jsonl"))[-1]
    last.write_bytes(last.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"lost|cut off|does not read"):
        follower.update()


def test_a_taken_port_is_one_sentence(monkeypatch, capsys, serving, tmp_path):
    port = serving(tmp_path).server_port
    code, _, error = called(monkeypatch, capsys, "serve", tmp_path, "--port", port)
    assert code == 2
    assert error.startswith(f"error: --port: 127.0.0.1:{port} cannot be used (Address already in use); give another")


def test_the_config_of_any_trial_can_be_trained_again(fake, tmp_path):
    state = fake.run(fake.make_spec(), tmp_path)
    for trial in state.trials.values():
        config, teacher = trial_config(str(tmp_path), trial.id)
        assert config.model_dump(mode="json") == trial.config
        assert (teacher is None) == (config.teacher is None)
    with pytest.raises(InputError, match=r"^--trial: must be a trial of .*, got 'none-77'; did you mean none-"):
        trial_config(str(tmp_path), "none-77")


def test_a_sweep_that_is_missing_is_named_and_ctrl_c_ends_the_command(tmp_path, fake, monkeypatch, capsys):
    def press_ctrl_c(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", press_ctrl_c)
    with fake.open_driver(fake.make_spec(), tmp_path / "there") as driver:
        report(driver, 0.1)
    code, out, err = called(monkeypatch, capsys, "serve", tmp_path / "there", tmp_path / "missing")
    lines = (out + err).splitlines()
    (note,) = [line for line in lines if line.startswith("note: ")]
    assert f"{tmp_path / 'missing'}" in note.replace("\n", "")
    assert (code, lines[-1]) == (0, "ended")
