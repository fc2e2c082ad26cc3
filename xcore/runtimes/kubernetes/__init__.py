"""Sandboxes as pods: a Deployment for each plugin, and what is seen of it read back from the cluster."""
