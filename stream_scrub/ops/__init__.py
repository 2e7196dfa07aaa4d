"""What a process shows of itself: log lines, metrics, health, and the pages that serve them."""
