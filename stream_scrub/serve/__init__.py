"""The HTTP server: the check API, the status page, health and metrics, with the code and the index of a worker."""
