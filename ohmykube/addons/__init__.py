"""Add-ons: what installs something into a cluster, ours and anybody's through one entry point."""
