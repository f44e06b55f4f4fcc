"""Whole relays whose destinations are in trouble: nothing is lost, nobody else notices, and the metrics tell."""
