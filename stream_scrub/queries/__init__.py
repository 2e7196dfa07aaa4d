"""Questions that change nothing: a check, a history, a proof, an explanation, an export."""
