"""A real Kafka broker for the tests and for people."""
