"""From requests (opt-outs, consents, withdrawals, corrections) to deltas on the log."""
