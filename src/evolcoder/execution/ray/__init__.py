"""A Ray cluster as a place where work runs."""
