"""`recall`: takes back leads that were handed out and may no longer be called."""
