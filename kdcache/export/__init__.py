"""A run's student in the forms that other people's programs load, each checked against the run's weights."""

from kdcache.export.report import ExportReport
from kdcache.export.run import export_run

__all__ = ["ExportReport", "export_run"]
