"""Commands about the streams themselves."""
