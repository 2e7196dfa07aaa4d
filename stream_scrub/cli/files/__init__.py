"""The commands on files of leads."""
