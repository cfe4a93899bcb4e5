"""One use-case per file: a function that reads as the list of what happens, and its options."""
