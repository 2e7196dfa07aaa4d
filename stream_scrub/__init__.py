"""stream_scrub: tests every prospect on a Kafka topic against registers of opposition and consent, exactly once."""

__version__ = "0.1.0"
__all__ = ["__version__"]
