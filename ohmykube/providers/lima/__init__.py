"""Virtual machines made by Lima: rootless, on macOS and Linux."""
