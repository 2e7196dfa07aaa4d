"""Where partitions are read on: what the group has committed, and where they begin that it has nothing of."""
