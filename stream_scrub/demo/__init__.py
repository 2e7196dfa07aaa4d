"""`stream-scrub demo`: leads, lists, a broker inside the process, and two workers of which one is killed."""
