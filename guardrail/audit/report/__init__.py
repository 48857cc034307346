"""What happened, from the records: one pass over a store, then a table for a terminal, a page, or JSON."""

from guardrail.audit.report.figures import Report
from guardrail.audit.report.making import make_report
from guardrail.audit.report.page import to_html
from guardrail.audit.report.summary import Summary
from guardrail.audit.report.terminal import tables

__all__ = ["Report", "Summary", "make_report", "tables", "to_html"]
