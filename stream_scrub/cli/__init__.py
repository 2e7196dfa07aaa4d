"""The console: what each command takes and shows. The work is done in other rooms."""
