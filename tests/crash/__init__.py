"""Kill the relay at random moments under load, start it again, and hold its deliveries against the senders' ledger."""
