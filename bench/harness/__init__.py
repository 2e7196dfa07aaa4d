"""What every bench needs: options and exit codes, data, processes and their cost, the file of results."""
