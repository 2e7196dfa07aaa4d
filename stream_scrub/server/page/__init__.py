"""The status page: whether it is safe to dial, what that rests on, and a few actions; made on the server, for any browser."""
