"""What follows from a ledger: tables, best config, frozen selection."""
