"""What must go on beside the load: swaps of deltas, opt-outs, large registers, hours of work, attacks. See README.md."""
