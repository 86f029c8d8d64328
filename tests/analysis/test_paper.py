import csv

import pytest

from analysis.report.findings import findings_of
from analysis.report.paper.tables import ablation_sheets, comparison_sheet, latex, markdown, write_paper


def test_files_of_the_same_cells(tables, tmp_path):
    paths = write_paper(tmp_path, findings_of(tables))
    assert [path.name for path in paths] == [*(f"comparison.{ending}" for ending in ("md", "tex", "csv", "pdf"))]
    with (tmp_path / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["Study"] == "cwd"
    assert rows[0]["mIoU (n)"] == "48.00 (2)"
    assert rows[0]["Seeds"] == "50.00, 46.00"
    assert rows[0]["Over baseline"].startswith("+7.00 [-")
    assert rows[0]["Verdict"] == "not separated"
    assert rows[1]["Over baseline"] == ""
    assert (tmp_path / "comparison.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_tables_give_the_same_files(tables, tmp_path):
    first = [path.read_bytes() for path in write_paper(tmp_path / "a", findings_of(tables))]
    assert [path.read_bytes() for path in write_paper(tmp_path / "b", findings_of(tables))] == first


def test_latex_is_escaped_and_set_with_booktabs(sweep):
    sweep.rows["studies"][1]["study"] = "csc_ace & 100%"
    for trial in sweep.rows["trials"]:
        if trial["study"] == "cwd":
            trial["study"] = "csc_ace & 100%"
    text = latex(comparison_sheet(findings_of(sweep.tables())))
    assert r"csc\_ace \& 100\%" in text
    assert "$+7.00$" in text
    assert r"\toprule" in text
    assert r"50 \%" in text
    assert text.count(r"\\" + "\n") == 3
    assert "adjusted for the number of studies" in text


@pytest.mark.parametrize(("gain", "placebo", "bold"), [(0.05, 0.4, True), (0.05, 0.5, False), (0.0, 0.4, False)])
def test_bold_says_what_the_verdict_says(empty_sweep, gain, placebo, bold):
    sweep = empty_sweep(confirm_seeds=6)
    for study, level, kind in (("none", 0.4, None), ("cwd", 0.4 + gain, None), ("shuffled", placebo, "placebo")):
        sweep.study(study, is_baseline=study == "none", control=kind)
        sweep.trial(study, level)
        for seed in range(6):
            noise = 0.001 * (seed + (study == "cwd") * seed % 2 + (study == "shuffled") * seed % 3)
            sweep.trial(study, level + noise, seed=seed + 11, of=f"{study}-0")
    sheet = comparison_sheet(findings_of(sweep.tables()))
    assert {sheet.rows[place][0] for place in sheet.bold} == ({"cwd"} if bold else set())
    assert "shuffled (control)" in {row[0] for row in sheet.rows}
    lines = markdown(sheet).splitlines()
    assert any(line.startswith("| **cwd**") for line in lines) == bold
    assert len({line.count("|") for line in lines[2:6]}) == 1


def test_unconfirmed_scores_say_so(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.4)
    assert comparison_sheet(findings_of(sweep.tables())).caption.startswith("Not confirmed")


def test_an_ablation_shows_what_is_on_in_which_cell(empty_sweep, tmp_path):
    sweep = empty_sweep(purpose="ablation", design="leave-one-out", confirm_seeds=2)
    means = {"full": 0.5, "no-cwd": 0.45, "no-kd": 0.49, "shuffled": 0.48, "none": 0.47, "longer": 0.46}
    controls = {"shuffled": "placebo", "none": "none", "longer": "none_equal_time"}
    for study, score in means.items():
        sweep.study(study, space={}, is_baseline=False, control=controls.get(study))
        for seed in (1, 2, 3):
            sweep.trial(study, score + seed ** (len(study) % 3) / 1000, phase="confirm", seed=seed, config_id=study)
    levels = {"full": ("on", "on"), "no-cwd": ("off", "on"), "no-kd": ("on", "off")}
    for cell, (cwd, kd) in levels.items():
        sweep.cell(cell, "reference" if cell == "full" else "cell")
        sweep.rows["cells"][-1]["levels_json"] = f'{{"cwd": "{cwd}", "kd": "{kd}"}}'
    for control, kind in controls.items():
        sweep.cell(control, "control", kind)
    findings = findings_of(sweep.tables())
    (sheet,) = ablation_sheets(findings)
    assert sheet.columns[:3] == ("Cell", "cwd", "kd")
    assert {row[0]: row[1:3] for row in sheet.rows} == {
        "full (reference)": ("✓", "✓"),
        "no-cwd": ("", "✓"),
        "no-kd": ("✓", ""),
        "shuffled (control)": ("✓", "✓"),
        "none (control)": ("", ""),
        "longer (control)": ("", ""),
    }
    assert "Verdicts on 3 seeds alone" in sheet.note
    assert "Controls: differences seed by seed, adjusted for 3 comparisons" in sheet.note
    assert r"\checkmark" in latex(sheet)
    written = write_paper(tmp_path, findings)
    assert (tmp_path / "ablation-leave-one-out.pdf") in written
    assert not [path for path in written if path.stem == "comparison"], "no config is chosen"
