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
        "is_ours = report is not None and await self._stored(report.our_id) is not None",
        "is_ours = report is not None",
        (f"{_TESTS}::test_a_report_on_mail_that_is_not_ours_is_mail",),
    ),
    Mutant(
        "a bounce is told twice",
        "P2",
        "takes a report that comes back from its sender's mailbox for news",
        "engine/postroad/arrivals.py",
        "return any(recipient.address == BOUNCE_ADDRESS for recipient in stored.recipients)",
        "return False",
        (
            f"{_TESTS}::test_a_report_of_ours_that_comes_back_from_the_senders_mailbox_is_told_no_second_time",
            "test_receive.py::test_a_report_that_told_the_application_is_told_no_second_time_on_either_road",
        ),
    ),
    Mutant(
        "a report that told nobody is told to nobody",
        "P1",
        "takes every report of this spool for one that told the application by itself",
        "engine/postroad/arrivals.py",
        "return any(recipient.address == BOUNCE_ADDRESS for recipient in stored.recipients)",
        "return True",
        (f"{_TESTS}::test_a_report_that_told_nobody_is_told_when_it_comes_back",),
    ),
    Mutant(
        "strangers fill the queue",
        "P6",
        "lets mail from outside, which nobody takes, keep the application's own mail out",
        "engine/postroad/config.py",
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
        "and tells_bounce(report)):\n",
        "and tells_bounce(report)):\n            return\n",
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
        "    progress.commit()\n    progress.is_whole = await talk.send(pending)\n",
        "    progress.is_whole = await talk.send(pending)\n    await trio.sleep(1)\n    progress.commit()\n",
        (f"{_HTTP}::test_nothing_whole_leaves_before_committing",),
    ),
    Mutant(
        "an application's answer is thrown away on cancelling",
        "P2",
        "ends a POST whose last octets are out, and so tells the application twice",
        "plugins/postroad_appengine/transport.py",
        "lambda: request.doubt_seconds if progress.is_committed else 0.0",
        "lambda: 0.0",
        (f"{_HTTP}::test_cancelled_after_the_request_it_waits_for_the_answer",),
    ),
    Mutant(
        "what outlasts its call has no end",
        "P6",
        "waits for the answer as long as it takes, also when the engine ends",
        "engine/postroad/outlasting.py",
        "trio.current_time() + self._grace_seconds()",
        "trio.current_time() + 1000",
        (f"{_HTTP}::test_cancelled_it_waits_no_longer_than_the_doubt",),
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
