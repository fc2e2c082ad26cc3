"""What the controller says of itself: problems, health, metrics."""
