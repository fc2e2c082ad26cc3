"""Installation without Helm, and what writes it."""
