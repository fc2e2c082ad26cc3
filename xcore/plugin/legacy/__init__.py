"""Plugins of the system before this one, run inside their sandbox as they were written.

`adapter` makes an ASGI application of an old `Plugin` class; the rest of the platform sees nothing else. Loaded only
where `spec.legacy` is there. What an old manifest becomes is decided outside, in `integrations.legacy`.
"""
