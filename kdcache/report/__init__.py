"""What a cache holds, for people and for programs."""

from kdcache.report.cache_report import CacheReport
from kdcache.report.cache_text import to_text

__all__ = ["CacheReport", "to_text"]
