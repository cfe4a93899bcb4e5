"""Progress and results on a terminal, as plain lines and as JSON lines."""
