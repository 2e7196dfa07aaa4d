"""What a prospect waits, from the moment it was due to its verdict. See README.md."""
