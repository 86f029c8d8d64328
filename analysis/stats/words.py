"""The words of a comparison, for all who write or read them."""

WORDS = ("separated", "not separated", "equivalent")
ENOUGH_SEEDS = 5
"""With fewer seeds no sentence says *separated* without saying on how few seeds alone."""
