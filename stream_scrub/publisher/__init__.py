"""A delta's life up to the log: requests, ends and dropped files become sealed deltas, each once."""
