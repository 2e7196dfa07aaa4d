"""A client of the check API: `Client`, and `AsyncClient` for asyncio. For diallers in Python; it needs no Kafka.

No call raises for what a server, a network or a proxy does: whatever is not a verdict comes back as `Unknown`, whose
`may_dial` is false. A client may be shared by threads (`Client`) or tasks (`AsyncClient`), and keeps its connections.
"""

from stream_scrub.client.answers import Accepted, Answer, Unknown
from stream_scrub.client.asking import AsyncClient, Client

__all__ = ["Accepted", "Answer", "AsyncClient", "Client", "Unknown"]
