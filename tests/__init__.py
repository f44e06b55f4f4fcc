"""The tests: unit (rules, no I/O), contract (one suite for all stores and sinks), integration, acceptance."""
