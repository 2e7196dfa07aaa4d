"""From settings to parts: clients, scrubber, and what must be there before one begins."""
