"""From a list file to a delta on the log: formats, parsing, guards, and the drop folder."""
