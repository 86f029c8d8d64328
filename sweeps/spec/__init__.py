"""What a sweep is to do: the spec, its settings and dotted paths."""
