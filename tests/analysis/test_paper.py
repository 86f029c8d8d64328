import csv

from analysis.ablation import ablate
from analysis.compare import compare
from analysis.paper import comparison_sheet, latex, markdown, write_paper


def test_three_files_of_the_same_cells(tables, tmp_path):
    paths = write_paper(tmp_path, compare(tables), ablate(tables))
    assert [path.name for path in paths] == ["comparison.md", "comparison.tex", "comparison.csv"]
    with (tmp_path / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["Study"] == "cwd"
    assert rows[0]["mIoU"] == "48.00"
    assert rows[0]["Seeds"] == "50.00, 46.00"
    assert rows[0]["Over baseline"] == "+7.00"
    assert rows[1]["Over baseline"] == ""


def test_latex_is_escaped_and_set_with_booktabs(sweep):
    sweep.rows["studies"][1]["study"] = "csc_ace & 100%"
    for trial in sweep.rows["trials"]:
        if trial["study"] == "cwd":
            trial["study"] = "csc_ace & 100%"
    text = latex(comparison_sheet(compare(sweep.tables())))
    assert r"\textbf{csc\_ace \& 100\%} & \textbf{48.00}" in text
    assert "$+7.00$" in text
    assert r"\toprule" in text
    assert r"50 \%" in text
    assert text.count(r"\\") == 3


def test_markdown_marks_the_chosen_config(tables):
    lines = markdown(comparison_sheet(compare(tables))).splitlines()
    assert lines[4].startswith("| **cwd** | **48.00** | 2 |")
    assert "none (baseline)" in lines[5]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_unconfirmed_scores_say_so(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.4)
    assert comparison_sheet(compare(sweep.tables())).caption.startswith("Not confirmed")
