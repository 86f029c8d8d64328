"""Sentences that several sections of a report share."""

CONFIG_CLAIM = "A claim about configs: it holds for training these settings again on new seeds."
SELECTION_ALONE = (
    "These are the numbers of the selection, whose seeds also chose the config; since the freeze the final seeds have "
    "the word. "
)
BOLD = "Bold: in the tie set and, on enough seeds, separated from the baseline and better."
