"""What the brokers are asked, other than records: topics, their ids, rights, clocks."""
