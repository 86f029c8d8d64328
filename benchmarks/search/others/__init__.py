"""Search policies of other packages, each through its own interface; `make(trainings, seed, ...)` begins a search."""
