"""Data sets of which a file holds many images: Parquet and Arrow tables, and tar archives of webdataset."""
