"""What the status page knows of others: workers and publishers by their pages, the last deltas by the log."""
