"""`stream-scrub drill`: a synthetic opt-out goes through everything, so that a path that fails in silence is found."""
