"""What a cluster is: frozen dataclasses and enums, no I/O, no clock, no environment."""
