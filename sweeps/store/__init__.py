"""The storage of a sweep, and the lock for its driver."""
