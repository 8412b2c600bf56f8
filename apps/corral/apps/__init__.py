"""The ways in: the `corral` command and what it is made of."""
