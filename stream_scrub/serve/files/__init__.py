"""A file of leads, scrubbed on the page."""
