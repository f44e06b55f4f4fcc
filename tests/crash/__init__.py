"""Kill the relay, freeze it, cut its power, and hold what it did against the ledgers of its senders and receivers."""
