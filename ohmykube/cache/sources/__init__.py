"""Where artifacts come from: ``upstream``, ``mirror``, ``build`` and what plugins add."""
