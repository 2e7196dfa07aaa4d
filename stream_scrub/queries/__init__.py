"""Read-only queries: check, history, log proof, explanation, export, status, offsets."""
