"""What happened in a sweep: the append-only ledger and the state that follows from it."""
