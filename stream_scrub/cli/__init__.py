"""The console: what each command asks for and shows. It decides nothing."""
