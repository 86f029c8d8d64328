"""Data sets whose labels are annotations in a JSON file in the form of COCO: polygons, run lengths, or segments."""
