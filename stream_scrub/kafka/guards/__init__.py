"""What an index of the log must fulfil besides being fresh: requests that are applied, and the log by which workers judge."""
