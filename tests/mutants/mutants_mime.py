"""Mutants of what keeps strangers' mail from costing time, memory or recursion without bounds."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["MIME"]

_BOUNDS = "engine/postroad/bounded_mail.py"
_TESTS = "test_bounded_mail.py"

MIME = (
    Mutant(
        "any codec of Python is a charset",
        "P6",
        "decodes a notice by punycode, which takes the engine 20 s for 1 MB",
        "engine/postroad/charsets.py",
        "    if codec not in CHARSETS:\n",
        "    if False:\n",
        ("test_charsets.py::test_what_is_no_charset_is_unknown",),
    ),
    Mutant(
        "parts nest without end",
        "P6",
        "lets the library recurse as deep as a stranger likes",
        _BOUNDS,
        "if payload._depth > DEPTH_MAX:",
        "if False:",
        (f"{_TESTS}::test_bounds_count_work_and_not_time",),
    ),
    Mutant(
        "a field has any number of parameters",
        "P6",
        "has the library look at each parameter once for each other one",
        _BOUNDS,
        'value.count(";") > PARAMETERS_MAX or len(value) > PARAMETERS_CHARS',
        'value.count(";") > 10**9',
        (f"{_TESTS}::test_bounds_count_work_and_not_time",),
    ),
    Mutant(
        "the work of a mail is not counted",
        "P6",
        "divides a mail into as many parts and fields as it says",
        _BOUNDS,
        "        self._top._work += work\n",
        "        pass\n",
        (f"{_TESTS}::test_bounds_count_work_and_not_time",),
    ),
    Mutant(
        "a charset unpacks without bounds",
        "P6",
        "looks for bombs in transfer encodings alone",
        "engine/postroad/appengine/payloads.py",
        "            _refuse_bomb(octets, str(self.charset))\n",
        "",
        (f"{_TESTS}::test_a_charset_that_unpacks_is_bounded_like_an_encoding",),
    ),
    Mutant(
        "a long notice is read on the loop",
        "P6",
        "holds up every task of the engine while a stranger's MiB is read",
        "engine/postroad/callbacks/told.py",
        "is_short = len(report) <= _INLINE_BYTES",
        "is_short = True",
        ("appengine/test_callbacks_told.py::test_a_long_report_is_read_in_a_thread",),
    ),
)
