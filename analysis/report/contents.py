"""All sections of a report, in the order of the page. A new section is one file in `sections/` and one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.report.findings import Findings
from analysis.report.sections import (
    ablation,
    budget,
    classes,
    comparison,
    costs,
    expected_best,
    fairness,
    finalists,
    front,
    held_out,
    learning_curves,
    loss_terms,
    methods,
    more_seeds,
    noise,
    parameters,
    predictions,
    rebuild,
    runs,
    selection,
    time_spent,
)


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        anchor: Its id on the page, for links.
        title: Its heading.
        body: Writes its HTML; a section without any (an empty text) is left out.
        in_ablation: Whether the report of an ablation has it. There every cell is compared with the reference and no
            config is chosen.
        folded: Whether a narrow screen shows its heading alone until a reader opens it: all but what the verdict says.
    """

    anchor: str
    title: str
    body: Callable[[Findings], str]
    in_ablation: bool = True
    folded: bool = False


SECTIONS = (
    Section("final", "Held out", held_out.section, in_ablation=False),
    Section("front", "Students", front.section, in_ablation=False),
    Section("comparison", "Comparison", comparison.section, in_ablation=False),
    Section("methods", "Methods", methods.section, in_ablation=False),
    Section("ablation", "Ablation", ablation.section),
    Section("seeds", "Every finalist, every seed", finalists.section),
    Section("expected", "Expected best score", expected_best.section, in_ablation=False, folded=True),
    Section("budget", "Budget", budget.section, folded=True),
    Section("time", "Where the time went", time_spent.section, folded=True),
    Section("costs", "Quality and cost", costs.section, in_ablation=False, folded=True),
    Section("selection", "Selection", selection.section, in_ablation=False, folded=True),
    Section("runs", "Every run", runs.section, folded=True),
    Section("classes", "Classes", classes.section),
    Section("pictures", "Predictions", predictions.section, folded=True),
    Section("parameters", "Searched parameters", parameters.section, folded=True),
    Section("curves", "Learning curves", learning_curves.section, folded=True),
    Section("terms", "Loss terms", loss_terms.section, folded=True),
    Section("noise", "Noise", noise.section, folded=True),
    Section("more-seeds", "More seeds", more_seeds.section, folded=True),
    Section("fairness", "Fairness and data", fairness.section, folded=True),
    Section("rebuild", "How to rebuild", rebuild.section, folded=True),
)
