"""`make bench`: the worker beside the bare consume-produce loop of the same client, on a real Kafka. See README.md."""
