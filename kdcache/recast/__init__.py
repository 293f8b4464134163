"""Caches made out of caches, without a teacher: put together, compared, made smaller."""

from kdcache.recast.diff import CacheDiff, diff
from kdcache.recast.merge import merge
from kdcache.recast.prune import prune
from kdcache.recast.report import RecastReport

__all__ = ["CacheDiff", "RecastReport", "diff", "merge", "prune"]
