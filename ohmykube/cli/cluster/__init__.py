"""Commands on a cluster as a whole, one module for each."""
