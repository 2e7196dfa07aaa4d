"""Bytes of a list file to numbers, in bounded memory."""
