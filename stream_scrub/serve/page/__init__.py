"""The status page: whether it is safe to dial and why, and a few actions. Rendered on the server; works without scripts."""
