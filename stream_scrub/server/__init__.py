"""The check API: answers "may this number be called now?" over HTTP, by the code and the index of a worker."""
