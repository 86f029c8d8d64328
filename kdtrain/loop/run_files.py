"""The names of the files in the folder of one run."""

CHECKPOINTS, CONFIG, RESULT, STUDENT = "checkpoints", "config.json", "result.json", "student"
