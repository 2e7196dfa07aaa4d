"""A client of the check API for diallers in Python: `Client`, and `AsyncClient` for asyncio. It needs no Kafka.

No call raises because of a server, a network or a proxy: the result is then `Unknown`, whose `allowed` is false. A wrong
argument raises ValueError.
Threads may share a `Client` and tasks an `AsyncClient`; both keep their connections.
"""

from stream_scrub.call import Call
from stream_scrub.client.client import Accepted, AsyncClient, Client
from stream_scrub.stamp import Stamp, Unknown

__all__ = ["Accepted", "AsyncClient", "Call", "Client", "Stamp", "Unknown"]
