"""The opposition log begun anew behind a notarised cut: the erasure that a log without deletion allows."""
