"""Effects of what was ablated."""
