"""A prospect's life on the stream: poll, scrub, emit, commit; hold when the index is not to be trusted."""
