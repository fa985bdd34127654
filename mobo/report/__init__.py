"""The page a search ends with: one HTML file that opens offline."""

from mobo.report.page import write_report

__all__ = ["write_report"]
