"""What the product costs beside others, measured on a real Kafka, every output checked. See README.md."""
