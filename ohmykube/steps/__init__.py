"""One step per file: look at the world, skip with a reason or act, and be repeatable."""
