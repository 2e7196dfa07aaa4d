"""What the status page shows of other processes (by their metrics and health pages) and of the log (the last deltas)."""
