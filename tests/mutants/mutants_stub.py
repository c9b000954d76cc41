"""Mutants of what keeps the tests of an application from sending, and lets them see what production does."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["STUB"]

_TESTS = "appengine/test_testing.py"
_MAP = "engine/postroad/appengine/apiproxy_stub_map.py"

STUB = (
    Mutant(
        "a test that forgot its stub sends",
        "",
        "leads from a testbed without a stub to the real service",
        _MAP,
        "return None if stub is None and apiproxy is _first else apiproxy.MakeSyncCall",
        "return None if stub is None else apiproxy.MakeSyncCall",
        (f"{_TESTS}::test_an_active_testbed_never_leads_to_the_real_service",),
    ),
    Mutant(
        "mail by the SMTP variables passes the stub",
        "",
        "hands it to the server although a test catches mail",
        "engine/postroad/appengine/message_base.py",
        "if stubbed_call(by_smtp=True) is None and smtp_service.is_wanted():",
        "if smtp_service.is_wanted():",
        (f"{_TESTS}::test_mail_that_would_go_by_smtp_is_caught_too",),
    ),
    Mutant(
        "a stub takes what production refuses",
        "P5",
        "asks no configuration",
        "engine/postroad/appengine/testing/stub.py",
        "config = self._config or config",
        "config = None",
        (f"{_TESTS}::test_with_a_configuration_its_rules_hold",),
    ),
    Mutant(
        "a stub forgets what its rules counted",
        "",
        "makes them anew for every message",
        "engine/postroad/appengine/testing/stub.py",
        "if self._rules is None or self._rules[0] != config:",
        "if True:",
        (f"{_TESTS}::test_quotas_count_and_begin_anew_when_cleared",),
    ),
)
