"""`fanout`: delivers opt-outs and recalls to systems that do not read Kafka."""
