"""Tables on disk: reading, writing, schemas, and what a trial is worth."""
