"""The kinds of files: how each is read and written."""
