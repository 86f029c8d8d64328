"""Trained networks at work: what they predict for images that belong to no data set."""
