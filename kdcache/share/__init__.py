"""Sharing caches: copies of a whole cache or of a part, checked object by object."""
