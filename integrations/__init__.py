"""The application layer: what makes the engine useful to the people who administer it. Imports xcore, never the controller."""
