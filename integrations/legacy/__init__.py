"""Plugins of the system before this one: what their folders say, and what that is today.

Only read here: nothing of a plugin is imported. What runs them lies in `xcore.plugin.legacy`, inside the sandbox.
"""
