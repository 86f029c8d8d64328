"""One training: from config to result."""
