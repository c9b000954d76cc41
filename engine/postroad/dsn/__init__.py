"""Reports on deliveries: written for our senders (RFC 3464), read when other hosts' reports come back.

Pure functions: no I/O, no clock, no random source.  Bounce is the caller.  A report travels with the null sender, and
no report is ever written on a report (RFC 3461 section 6.1, RFC 5321 section 6.1): both are the caller's duty.
"""

from .read import ReceivedRecipient, ReceivedReport, read_report
from .write import ReportedRecipient, ReportRequest, write_report

__all__ = [
    "ReceivedRecipient",
    "ReceivedReport",
    "ReportRequest",
    "ReportedRecipient",
    "read_report",
    "write_report",
]
