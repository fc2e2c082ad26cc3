"""A small NetworkPolicy enforcer, for tests only."""
