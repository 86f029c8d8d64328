"""The samplers of this project, one file for each kind; `sweeps.driver.sampler` has what they all do."""
