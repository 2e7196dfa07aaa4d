"""The client's own ways: its properties, its errors, its log, its threads, its repeats."""
