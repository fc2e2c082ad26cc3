"""A real Kubernetes for tests: one node on this machine, built from Go modules. For tests only."""
