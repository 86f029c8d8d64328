"""The interval of a share: of how many of some trials something holds."""

from scipy import special


def share_interval(count: int, total: int, error: float = 0.05) -> tuple[float, float]:
    """The interval of a share that covers it at least as often as it says (Clopper & Pearson 1934).

    Args:
        count: How many of the trials it holds of.
        total: How many trials there are, one at least.
        error: How often the interval may miss the share.

    Returns:
        Its lower and its upper end, as fractions.
    """
    low = float(special.betaincinv(count, total - count + 1, error / 2)) if count else 0.0
    high = float(special.betainccinv(count + 1, total - count, error / 2)) if count < total else 1.0
    return low, high
