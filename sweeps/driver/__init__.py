"""What a sweep runs next."""
