"""One use-case per file: a readable tuple of steps and its options."""
