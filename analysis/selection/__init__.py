"""Everything that picks a winner."""
