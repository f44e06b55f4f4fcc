"""Large stores: how the relay starts on them and works through them. `python -m tests.scale.million`."""
