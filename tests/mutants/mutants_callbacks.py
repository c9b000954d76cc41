"""Mutants of what keeps callbacks from being lost, forged, doubled without a word, or reported."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["CALLBACKS"]

_CLIENT = "plugins/postroad_appengine/client.py"
_TESTS = "appengine/test_callbacks.py"
_HTTP = "appengine/test_callbacks_http.py"

CALLBACKS = (
    Mutant(
        "the application is not told of a failure",
        "P1",
        "commits the report for the sender alone",
        "engine/postroad/door.py",
        "if callback_lane is not None:",
        "if False:",
        (f"{_TESTS}::test_a_failure_is_told_to_the_sender_and_to_the_application_in_one_commit",),
    ),
    Mutant(
        "a callback is dropped when its schedule is over",
        "P2",
        "fails it, and nobody hears of that",
        "engine/postroad/decide/retry.py",
        'is_kept = step is Step.FAIL and give_up == "hold"',
        "is_kept = False",
        (f"{_TESTS}::test_what_nobody_takes_is_held_told_loudly_and_reported_to_nobody",),
    ),
    Mutant(
        "a callback that was released is held again untried",
        "P2",
        "gives it up for its age, while its lane is held",
        "engine/postroad/actors/policy.py",
        'is_given_up = is_given_up and road.give_up == "drop"',
        "pass",
        (f"{_TESTS}::test_what_is_released_while_the_application_is_down_waits_for_a_try",),
    ),
    Mutant(
        "mail forges a bounce",
        "P5",
        "takes whatever is for the reserved address for a bounce",
        "engine/postroad/decide/routing.py",
        "(message.kind is Kind.REPORT and address == BOUNCE_ADDRESS)",
        "address == BOUNCE_ADDRESS",
        (f"{_HTTP}::test_mail_to_the_reserved_address_tells_no_bounce",),
    ),
    Mutant(
        "a forged report takes mail away",
        "P1",
        "believes that any message id is one of ours",
        "engine/postroad/incoming.py",
        "is_ours = report is not None and await self._is_known(report.our_id)",
        "is_ours = report is not None",
        (f"{_TESTS}::test_a_report_on_mail_that_is_not_ours_is_mail",),
    ),
    Mutant(
        "strangers fill the queue",
        "P6",
        "lets mail from outside, which nobody takes, keep the application's own mail out",
        "engine/postroad/decide/admission.py",
        "_INCOMING_SHARE = 0.9",
        "_INCOMING_SHARE = 1.0",
        (
            "appengine/test_callbacks_attacked.py"
            "::test_a_flood_that_the_application_does_not_take_leaves_room_for_our_own_mail",
        ),
    ),
    Mutant(
        "the gate mints ids for incoming mail",
        "P2",
        "stores under an id of its own what another process may hand over again",
        "engine/postroad/gate.py",
        "call.idempotency_key, call.id",
        "call.idempotency_key",
        ("test_receive.py::test_a_large_mail_arrives_once_by_either_road",),
    ),
    Mutant(
        "a complaint is taken while nobody hears of it",
        "P1",
        "says that mail was taken which would be events alone, where no engine runs",
        "engine/postroad/offline.py",
        "        elif report is not None:\n",
        "        elif False:\n",
        ("test_receive.py::test_what_would_be_events_alone_waits_for_an_engine",),
    ),
    Mutant(
        "a wrong configuration returns mail to its authors",
        "P1",
        "ends a mail server's pipe with the code of the configuration",
        "engine/postroad/cli/exits.py",
        "            return USAGE\n        case _:\n            return TEMPFAIL",
        "            return USAGE\n        case _:\n            return exit_code_of(error)",
        ("cli/test_receive_command.py::test_whatever_is_not_the_mails_fault_ends_with_75",),
    ),
    Mutant(
        "the last octets of a POST leave before committing",
        "P2",
        "sends all, then says that it will",
        _CLIENT,
        "    pending += talk.end()\n    commit()\n    is_whole = await talk.send(pending)\n",
        "    pending += talk.end()\n    is_whole = await talk.send(pending)\n    await trio.sleep(1)\n    commit()\n",
        (f"{_HTTP}::test_nothing_whole_leaves_before_committing",),
    ),
    Mutant(
        "a 404 of the application refuses a callback",
        "P4",
        "throws callbacks away where the URL is wrong",
        "plugins/postroad_appengine/verdicts.py",
        "    scope, status = _scope(answer.status)\n",
        "    scope, status = _scope(answer.status)\n    if answer.status == 404:\n        return Verdict.refused(said)\n",
        (f"{_HTTP}::test_nothing_else_refuses_it",),
    ),
)
