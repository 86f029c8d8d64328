"""Where a sweep lies, and who may write to it."""
