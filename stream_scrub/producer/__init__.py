"""For lead producers in Python: `Leads` puts prospects on the topic that workers read. docs/producer.md shows it."""

from stream_scrub.producer.leads import Leads, WouldBlock

__all__ = ["Leads", "WouldBlock"]
