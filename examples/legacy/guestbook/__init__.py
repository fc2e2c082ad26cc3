from .run import Plugin, router

__all__ = ["Plugin", "router"]
