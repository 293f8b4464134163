"""Settings: frozen, checked once at the border, read from YAML and written back to it."""

from kdcache.config.base import Settings

__all__ = ["Settings"]
