"""One server process, its sockets and connections; and several of them that share one port."""
