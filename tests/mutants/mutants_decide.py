"""Mutants of the decisions: when again, how many at once, what follows a doubt, who may send, by which road."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["DECISIONS", "ROADS"]

_DECIDE = "engine/postroad/decide"
_RETRY = f"{_DECIDE}/retry.py"
_LIMITS = f"{_DECIDE}/limits.py"
_DOUBT = f"{_DECIDE}/doubt.py"
_ADMISSION = f"{_DECIDE}/admission.py"
_OF_RETRY = "decide/test_retry.py"
_OF_LIMITS = "decide/test_limits.py"
_OF_ADMISSION = "decide/test_admission.py"

_FAILOVER = f"{_DECIDE}/failover.py"
_OF_FAILOVER = "decide/test_failover.py"
_OF_ROADS = "test_roads.py"

ROADS = (
    Mutant(
        "a doubt is no reason to stay",
        "P2 I2",
        "sends by a second road what the first may have delivered",
        _FAILOVER,
        "return bool(road.others) and (road.fails_over_in_doubt or not recipient.in_doubt)",
        "return bool(road.others)",
        (f"{_OF_FAILOVER}::test_a_doubt_keeps_a_recipient_on_its_road_unless_the_route_would_rather_have_it_twice",),
    ),
    Mutant(
        "an unseen answer is no reason to stay",
        "P2 I2",
        "goes on by the next road when the answer of the first was not seen",
        _FAILOVER,
        "if verdict.disposition is Disposition.IN_DOUBT and not road.fails_over_in_doubt:",
        "if False:",
        (f"{_OF_ROADS}::test_mail_in_doubt_stays_on_its_road_unless_the_route_says_otherwise",),
    ),
    Mutant(
        "roads that are all down are tried round and round",
        "P6",
        "begins the next round without a pause",
        _FAILOVER,
        "return (recipient.attempts + 1) % roads != 0",
        "return True",
        (f"{_OF_FAILOVER}::test_once_all_roads_were_tried_the_schedule_goes_on",),
    ),
    Mutant(
        "a backlog waits although another road is open",
        "P1",
        "leases nothing of a held site that has another road",
        "engine/postroad/actors/policy.py",
        "site.clearing = CLEARING if site.has_others else 0",
        "site.clearing = 0",
        (f"{_OF_ROADS}::test_a_backlog_on_a_road_that_goes_down_moves_to_the_next",),
    ),
    Mutant(
        "mail that may not leave a held road keeps the other mail there",
        "P1",
        "lets nothing more out of a held site once ten leases in a row could not leave it",
        "engine/postroad/actors/policy.py",
        " or self._detours.is_any_open(lease, road, now)",
        "",
        (f"{_OF_ROADS}::test_mail_in_doubt_that_may_not_leave_a_held_road_keeps_nobody_else_there",),
    ),
    Mutant(
        "circuits are forgotten",
        "P1",
        "begins with the broken road after every restart",
        "engine/postroad/actors/policy.py",
        "        self._resume_circuits()\n",
        "",
        (f"{_OF_ROADS}::test_the_state_survives_a_restart",),
    ),
)

DECISIONS = (
    Mutant(
        "unknown trouble fails",
        "P4",
        "bounces what was only deferred",
        _RETRY,
        "return _again(verdict, message, retry, now, draw())",
        "return Step.FAIL, 0.0, verdict.status",
        (f"{_OF_RETRY}::test_a_message_that_is_always_deferred_is_given_up_exactly_at_the_end",),
    ),
    Mutant(
        "our own refused login bounces",
        "P4",
        "fails recipients for what is wrong with the transport or this machine",
        _RETRY,
        "case Disposition.REFUSED if verdict.scope not in (Scope.TRANSPORT, Scope.LOCAL):",
        "case Disposition.REFUSED:",
        (f"{_OF_RETRY}::test_a_refusal_of_the_transport_or_this_machine_bounces_nothing",),
    ),
    Mutant(
        "nothing is ever given up",
        "P1 I1",
        "tries for ever",
        _RETRY,
        "    if now >= end:\n        return Step.FAIL, 0.0, EXPIRED\n    delay =",
        "    delay =",
        (f"{_OF_RETRY}::test_a_message_that_is_always_deferred_is_given_up_exactly_at_the_end",),
    ),
    Mutant(
        "a retry behind the end",
        "P1",
        "plans the last try for after the message's time",
        _RETRY,
        "return step, min(now + delay, end), verdict.status",
        "return step, now + delay, verdict.status",
        (f"{_OF_RETRY}::test_the_senders_own_end_cuts_the_last_wait",),
    ),
    Mutant(
        "retries without a pause",
        "I7",
        "tries a young message again at once",
        _RETRY,
        "delay = min(max(age, retry.first_seconds), retry.max_seconds)",
        "delay = min(age, retry.max_seconds)",
        (f"{_OF_RETRY}::test_the_first_retry_comes_after_five_minutes_more_or_less",),
    ),
    Mutant(
        "a server's wish is a storm",
        "I7",
        "tries again as soon as a server asks for it",
        _RETRY,
        "return min(max(verdict.retry_after_seconds, _HINT_MIN_SECONDS), retry.hint_max_seconds)",
        "return min(verdict.retry_after_seconds, retry.hint_max_seconds)",
        (f"{_OF_RETRY}::test_hints_are_honoured_within_bounds",),
    ),
    Mutant(
        "local trouble costs a try",
        "P4",
        "counts what was not tried as a try",
        _RETRY,
        "tried=verdict.is_tried,",
        "tried=True,",
        (f"{_OF_RETRY}::test_what_was_not_tried_costs_no_try_and_waits_shortly",),
    ),
    Mutant(
        "a jump of the clock expires",
        "P4",
        "fails mail untried because the clock jumped past its end",
        _RETRY,
        "return jumped_at is None or message.accepted_at >= jumped_at",
        "return True",
        (f"{_OF_RETRY}::test_the_senders_own_end_stops_attempts_but_a_jump_of_the_clock_does_not",),
    ),
    Mutant(
        "a doubt is a deferral",
        "P2 I2",
        "tries again what may have been delivered as if it were not",
        _RETRY,
        "step = Step.DOUBT if verdict.disposition is Disposition.IN_DOUBT else Step.DEFER",
        "step = Step.DEFER",
        (f"{_OF_RETRY}::test_doubt_is_tried_again_by_the_same_schedule",),
    ),
    Mutant(
        "half a message is taken as delivered",
        "P1 I1",
        "takes a doubt as delivered although not all of it is known to have left",
        _DOUBT,
        'return Step.DELIVER if choice == "take_as_delivered" and is_proven else Step.HOLD',
        'return Step.DELIVER if choice == "take_as_delivered" else Step.HOLD',
        ("decide/test_doubt.py::test_the_routes_choice_says_what_follows",),
    ),
    Mutant(
        "a crash is taken as delivered",
        "P1 I1",
        "takes what was being handed over when the engine died as delivered",
        _DOUBT,
        '"send_again"), is_proven=False)',
        '"send_again"), is_proven=True)',
        ("decide/test_doubt.py::test_after_a_crash_nothing_is_proven_and_the_lane_tells_the_route",),
    ),
    Mutant(
        "a dead site is never left alone",
        "I7",
        "goes on trying a site however often it fails",
        _LIMITS,
        "if trouble < settings.trouble and not hold_now:",
        "if True:",
        (f"{_OF_LIMITS}::test_each_failure_shrinks_the_window_and_the_fifth_in_a_row_holds",),
    ),
    Mutant(
        "a window beyond its maximum",
        "P6 I7",
        "lets a window grow without a limit",
        _LIMITS,
        "if (progress >= window.size or recovering) and window.size < settings.max:",
        "if progress >= window.size or recovering:",
        (f"{_OF_LIMITS}::test_a_window_of_one_stays_one_when_its_trouble_is_over",),
    ),
    Mutant(
        "a crowd after the hold",
        "I7",
        "sends a whole window at once to a site that was down, where one probe goes first",
        _LIMITS,
        "        size=1,\n        trouble=settings.trouble,",
        "        size=window.size,\n        trouble=settings.trouble,",
        (f"{_OF_LIMITS}::test_a_site_that_works_again_gets_its_window_back",),
    ),
    Mutant(
        "anybody may send as anybody",
        "P5",
        "authorizes every sender",
        _ADMISSION,
        "    if is_authorized(sender, rules):\n",
        "    if True:\n",
        (f"{_OF_ADMISSION}::test_a_refused_sender_reads_who_may_send_and_what_to_do",),
    ),
    Mutant(
        "another domain's sender",
        "P5",
        "takes evilexample.com for a subdomain of example.com",
        _ADMISSION,
        "return domain.endswith(pattern_domain[1:])",
        "return domain.endswith(pattern_domain[2:])",
        (f"{_OF_ADMISSION}::test_a_pattern_is_everything_a_domain_its_subdomains_or_one_address",),
    ),
    Mutant(
        "a queue without a bound",
        "P6",
        "lets the queue grow by one message more than allowed",
        _ADMISSION,
        "if tally.messages >= limits.queue_messages:",
        "if tally.messages > limits.queue_messages:",
        (f"{_OF_ADMISSION}::test_the_queue_is_bounded_by_messages_and_by_octets",),
    ),
    Mutant(
        "a lane whose transport works otherwise by now",
        "I4",
        "sends mail that waits for one domain by a road without domains",
        f"{_DECIDE}/routing.py",
        "if road is None or road.by_domain != bool(slash):",
        "if road is None:",
        ("decide/test_routing.py::test_a_lane_of_a_route_that_is_gone_or_works_otherwise_has_no_road",),
    ),
)
