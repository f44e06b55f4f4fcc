"""What every implementation of a port must do: one suite, run over all of them."""
