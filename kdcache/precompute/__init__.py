"""Stage one: run the teachers once over every view that is not cached yet."""

from kdcache.precompute.extend import extension_of, terms_of
from kdcache.precompute.report import PrecomputeReport
from kdcache.precompute.run import precompute

__all__ = ["PrecomputeReport", "extension_of", "precompute", "terms_of"]
