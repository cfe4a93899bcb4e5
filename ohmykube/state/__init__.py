"""What is remembered of clusters: one record each, replaced in one step and under a lock."""
