"""What is asked of brokers beside records: topics, their identities, rights, their clocks."""
