"""What must change: desired, recorded and observed cluster in, typed changes out. Pure, no I/O."""
