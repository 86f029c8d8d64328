"""One attempt at a training, and what it needs."""
