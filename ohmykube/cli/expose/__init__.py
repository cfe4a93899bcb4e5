"""``ohmykube expose``."""
