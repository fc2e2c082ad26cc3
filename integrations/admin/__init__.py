"""Every route under /api/v1."""
