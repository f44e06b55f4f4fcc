"""The whole relay on embedded parts: simulated senders on one side, a Kafka, an HTTP service, a Slack on the other."""
