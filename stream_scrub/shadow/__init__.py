"""Shadow mode: what other rules, registers or another release would say of what came out."""
