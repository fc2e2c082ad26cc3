"""The controller's own image."""
