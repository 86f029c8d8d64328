import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from analysis import AnalysisError
from analysis.report.sweep_report import write_report

VOID = {"meta", "img", "br", "wbr", "input"}


class Checker(HTMLParser):
    """Every tag closed in order; the text outside of scripts and styles; the tags with their attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(folder):
    """The page as written: its parsed form and its text with single spaces."""
    checker = Checker()
    checker.feed(write_report(folder).read_text(encoding="utf-8"))
    assert not checker.open
    return checker, " ".join(" ".join(checker.text).split())


def test_the_report_of_a_whole_sweep(realistic):
    checker, text = read(realistic)
    sections = [attributes["id"] for tag, attributes in checker.tags if tag == "section"]
    order = "comparison seeds expected budget costs selection runs classes pictures parameters curves noise more-seeds"
    assert sections == [*order.split(), "fairness", "rebuild"]
    assert "Intervals are about retraining these configs" in text
    assert "out of memory" in text
    assert "deeplabv3plus" in text
    figures = [tag for tag, attributes in checker.tags if attributes.get("class") == "chart"]
    captions = [tag for tag, _ in checker.tags if tag == "figcaption"]
    assert len(figures) == 21
    assert len(captions) == 11
    assert sum(tag == "img" for tag, _ in checker.tags) == 10 + 6


def test_one_file_that_asks_the_network_for_nothing(realistic):
    checker, _ = read(realistic)
    for tag, attributes in checker.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/png", "#")), (tag, attributes)
    assert not [tag for tag, _ in checker.tags if tag == "link"]


def test_same_tables_same_page(sweep, tmp_path):
    sweep.write(tmp_path)
    page = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == page


def test_a_sweep_which_has_only_failures_gets_a_report_that_says_so(empty_sweep, tmp_path):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.study("kd")
    sweep.trial("none", None, reason="Traceback ...\nRuntimeError: <no> memory & luck")
    _, text = read(sweep.write(tmp_path))
    assert "No result, because no trial is complete" in text
    assert "RuntimeError: <no> memory & luck" in text


def test_a_sweep_before_its_first_trial(empty_sweep, tmp_path):
    sweep = empty_sweep(finished=False)
    sweep.study("none", is_baseline=True)
    _, text = read(sweep.write(tmp_path))
    assert "So far" in text


def test_an_unconfirmed_sweep_never_speaks_of_fresh_seeds_as_done(empty_sweep, tmp_path):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.study("kd")
    for study in ("none", "kd"):
        for score in (0.3, 0.4):
            sweep.trial(study, score, params={"optimizer.lr": 0.01})
    _, text = read(sweep.write(tmp_path))
    assert "Nothing is confirmed on fresh seeds yet" in text
    assert "came out first" not in text


def test_names_are_escaped(empty_sweep, tmp_path):
    sweep = empty_sweep(classes=("<b>road", "car&van"), name="a <script>x</script>")
    sweep.study("</script><i>kd", is_baseline=True)
    sweep.trial("</script><i>kd", 0.4, params={"a</script>": 0.3})
    checker, text = read(sweep.write(tmp_path))
    assert "</script><i>kd" in text
    assert not [tag for tag, _ in checker.tags if tag == "i" and not _key(checker, tag)]


def _key(checker, tag):
    return all("key" in attributes.get("class", "") for name, attributes in checker.tags if name == tag)


def test_an_ablation_has_its_table_and_its_line(empty_sweep, tmp_path):
    sweep = empty_sweep(purpose="ablation", design="leave-one-out", confirm_seeds=1)
    for study, score in (("full", 0.5), ("no-cwd", 0.45)):
        sweep.study(study, space={}, is_baseline=False)
        sweep.trial(study, score, phase="confirm", seed=1)
    sweep.cell("full", "reference")
    sweep.cell("no-cwd", "cell", "channel_wise", "off")
    _, text = read(sweep.write(tmp_path))
    assert "The lowest: no-cwd minus full, -5.00 points, untested" in text
    assert "channel_wise = off" in text
    assert (tmp_path / "report" / "paper" / "ablation-leave-one-out.tex").is_file()


def test_mixed_hardware_and_code_are_marked_wherever_a_comparison_is_shown(sweep, tmp_path):
    first = sweep.rows["environments"][0]
    facts = {"device": "cuda", "device_name": "Big GPU", "gpu_memory_bytes": 80 * 2**30, "code_digest": "c0de" * 4}
    sweep.rows["environments"].append({**first, "environment_id": "e2", **facts})
    for trial in sweep.rows["trials"]:
        if trial["study"] == "cwd":
            trial.update(environment_id="e2", node="node-7", peak_memory_bytes=2 * 2**30)
    _, text = read(sweep.write(tmp_path))
    hardware = "Mixed hardware: CPU without a name, 1 thread (trials: none 5); Big GPU (trials: cwd 5)."
    code = "Mixed code: code not recorded (trials: none 5); code c0dec0dec0 (trials: cwd 5)."
    assert text.count(hardware) == text.count(code) == 2  # under the comparison, and where it ran
    assert "cwd: mixed hardware; cwd: mixed code: not comparable." in text
    assert "Which study is best is not claimed" in text
    assert "on 1 node" in text
    assert "resources.gpu: 0.034" in text.replace("<code>", "")
    for ending in ("md", "tex"):
        assert "Mixed hardware: CPU" in (tmp_path / "report" / "paper" / f"comparison.{ending}").read_text()


def test_failures_are_counted_by_kind_with_their_retries(sweep, tmp_path):
    for number in range(3):
        oom = f"OutOfMemoryError: tried {number // 2}"
        sweep.trial("cwd", None, failure="out_of_memory", retries=1, reason=oom)
    sweep.trial("cwd", None, state="diverged", reason="kl was not finite")
    lost = sweep.trial("none", 0.2, retries=2)
    for n in (1, 2):
        row = {"sweep_id": "s1", "n": n, "at": sweep.clock, "kind": "retried", "trial_id": lost}
        sweep.rows["decisions"].append({**row, "detail": "the process of the trial was lost"})
    _, text = read(sweep.write(tmp_path))
    assert "cwd failed out of memory 3 3 cwd-5 OutOfMemoryError: tried 0 and 1 other reason" in text
    assert "cwd diverged 1 0 cwd-8 kl was not finite" in text
    assert "none complete 1 2 none-5 the process of the trial was lost" in text


def test_outcomes_that_were_taken_over_are_told(sweep, tmp_path):
    sweep.trial("cwd", 0.3, reused_from="cwd-2")
    _, text = read(sweep.write(tmp_path))
    assert "1 trial (cwd 1) had the config and seed of a trial that had been run already" in text


def test_no_tables_is_one_sentence(tmp_path):
    with pytest.raises(AnalysisError, match="no tables"):
        write_report(tmp_path)


def test_many_classes_are_drawn_in_part_and_listed_whole(empty_sweep, tmp_path):
    classes = [f"class{n:03d}" for n in range(150)]
    sweep = empty_sweep(classes=classes, palette=["#000000"] * 150)
    for study in ("none", "kd"):
        sweep.study(study, is_baseline=study == "none")
        sweep.trial(study, 0.4, iou=[0.3 + n / 1000 + (study == "kd") * n / 2000 for n in range(150)])
    _, text = read(sweep.write(tmp_path))
    assert "The 15 largest losses and gains of 150 classes." in text
    assert len(set(re.findall(r"class\d{3} ", text))) == 150


def test_analysis_needs_neither_torch_nor_ray():
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "found, blocked = PathFinder.find_spec, ('torch', 'ray', 'optuna', 'kdtrain', 'sweeps')\n"
        "def find_spec(name, *rest):\n"
        "    return None if name.partition('.')[0] in blocked else found(name, *rest)\n"
        "PathFinder.find_spec = find_spec\n"
        "import analysis, analysis.report.sweep_report, analysis.selection.select\n"
        "import analysis.report.paper.tables, analysis.tables.scores\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_states_of_every_kind_are_counted_and_nothing_is_claimed_before_the_end(sweep, tmp_path):
    sweep.rows["sweeps"][0]["finished"] = False
    for state in ("pruned", "diverged", "failed", "running", "planned"):
        sweep.trial("cwd", None, state=state, curve=[0.1])
    _, text = read(sweep.write(tmp_path))
    assert (
        "So far: config cwd-0 (best of 7 trials, one search) leads with 48.00 mIoU on 2 fresh seeds; no verdict before"
        in text
    )
    assert "1 of 10 trials diverged" in text
    assert "1 of 10 trials failed" in text
    assert "not finished" in text
    assert "separated" not in text


def test_one_study_has_nothing_to_be_compared_with(empty_sweep, tmp_path):
    sweep = empty_sweep(baseline=None, confirm_seeds=3)
    sweep.study("kd")
    sweep.trial("kd", 0.5, params={"optimizer.lr": 0.01})
    for seed in (1, 2, 3):
        sweep.trial("kd", 0.48 + seed / 1000, seed=seed, of="kd-0")
    _, text = read(sweep.write(tmp_path))
    assert "config kd-0 (best of 1 trial, one search) came out first: 48.20 mIoU on 3 fresh seeds" in text
    assert "no other study to compare it with" in text
    assert "no baseline study, so no gain can be stated" in text


def test_a_baseline_that_was_not_searched_is_refused_by_name(sweep, tmp_path):
    study = next(row for row in sweep.rows["studies"] if row["study"] == "none")
    study.update(searched_parameters=0, space_json="{}")
    _, text = read(sweep.write(tmp_path))
    assert "not compared with the baseline none" in text
    assert "The comparison with none (not searched) is refused" in text
    assert "separated from" not in text


def test_what_is_not_drawn_is_said(empty_sweep, tmp_path):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    for number in range(60):
        sweep.trial("none", 0.4, params={"optimizer.lr": 0.001 + number / 1e5})
    _, text = read(sweep.write(tmp_path))
    assert "40 of 60 search trials drawn" in text
    assert "60 trials" in text


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"


def test_the_details_of_every_run_are_data_that_no_name_can_end(sweep, tmp_path):
    run = sweep.trial("cwd", None, params={"optimizer.lr": 0.1}, state="failed", reason=HOSTILE, reached=0.2)
    config = {"method": HOSTILE, "terms": [{"loss": "kd", "name": HOSTILE, "weight": 2.0}], "seed": 7, "note": "a"}
    for trial in sweep.rows["trials"]:
        if trial["trial_id"] == run:
            trial["config_json"] = json.dumps(config)
    sweep.rows["metrics"] += [
        {"sweep_id": "s1", "trial_id": "cwd-0", "epoch": epoch, "name": f"term/{HOSTILE}/raw", "value": 1.0 / epoch}
        for epoch in (1, 2)
    ]
    page = write_report(sweep.write(tmp_path)).read_text(encoding="utf-8")
    assert "<img src=x" not in page
    (block,) = re.findall(r'<script type="application/json" class="details">(.*?)</script>', page)
    data = json.loads(block)
    assert data["runs"]["cwd-0"]["curve"] == [[1, 2], [27.5, 55.0]]
    assert data["runs"]["cwd-0"]["terms"] == [[HOSTILE, 1.0, 0.5, None, None]]
    assert data["runs"][run]["reason"] == HOSTILE
    changed = {path: value for path, value in data["runs"][run]["config"].items() if value is not None}
    assert {**data["base"]["cwd"], **changed} | {"number": None} == {
        **{"method": HOSTILE, f"terms.{HOSTILE}.loss": "kd", f"terms.{HOSTILE}.name": HOSTILE},
        **{f"terms.{HOSTILE}.weight": 2.0, "seed": 7, "note": "a", "number": None},
    }


def test_a_page_of_many_runs_stays_small_and_says_what_it_leaves_out(empty_sweep, tmp_path):
    sweep = empty_sweep()
    space = {"optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True}, "act": {"choices": ["a", "b"]}}
    sweep.study("none", is_baseline=True, space=space)
    for place in range(800):
        score, act = 0.3 + place / 4000, "ab"[place % 2]
        sweep.trial("none", score, params={"optimizer.lr": 10.0 ** (-4 * place / 800), "act": act})
    page = write_report(sweep.write(tmp_path)).read_text(encoding="utf-8")
    assert "300 more are in the tables" in page
    assert page.count("<tr tabindex") == 500
    assert len(page.encode()) < 1_500_000
