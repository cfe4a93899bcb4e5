"""The process that holds the ports of a host that lead into one cluster, for the cluster's life."""
