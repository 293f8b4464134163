"""The store: format 1 of the cache, on NumPy and Zarr.

Reading needs this package's ``open_cache`` only; ``kdcache.store.writer`` writes.
"""

from kdcache.store.reader import Cache, open_cache

__all__ = ["Cache", "open_cache"]
