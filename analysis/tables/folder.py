"""Where the tables of a sweep lie: `<sweep>/tables/<name>.parquet`."""

FOLDER = "tables"
