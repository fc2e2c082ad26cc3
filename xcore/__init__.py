"""The plugin micro-kernel: import its modules by name, nothing is imported here."""
