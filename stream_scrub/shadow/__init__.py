"""Shadow mode: the verdicts of other rules, registers or another release on emitted prospects."""
