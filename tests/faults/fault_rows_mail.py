"""Rows 1 to 46: mail that could be lost, and outcomes that could be wrong or missing.  See `fault_rows.Row` for the columns."""

from __future__ import annotations

from typing import Any

__all__ = ["LOST_MAIL", "OUTCOMES"]

_KILLS = "tests/crash/test_kills.py::test_kills_before_and_after_every_step_break_no_promise"
_SQLITE = "tests/store/test_sqlite.py::"
_PROMISES = "tests/test_promises.py::"
_ENGINE = "tests/test_engine.py::"
_POWER = "tests/power/test_power_loss.py::"
_ROWS = "tests/power/test_damaged_rows.py::"
_LOST = "tests/power/test_lost_rows.py::"
_SICK_ENGINE = "tests/power/test_sick_engine.py::"
_SICK = "tests/power/test_sick_storage.py::"
_MODEL = "tests/model/test_engine_promises.py"
_SINK = "tests/integration/test_smtp_sink_faults.py"
_CUT = "tests/cancellation/test_cancelled_"
_CRASHES = "tests/cancellation/test_crashing_actors.py::"
_STOPPED = "tests/cli/test_shutdown.py::"
_KILLED = "tests/integration/test_servers_killed.py::"

LOST_MAIL: tuple[tuple[Any, ...], ...] = (
    (
        "1",
        "kill -9 at any moment of accepting",
        "The message is in the spool whole, or was not acknowledged.",
        "Postfix: a queue file without its END record is not used.",
        (_KILLS, f"{_SQLITE}test_no_acknowledged_message_is_lost_when_the_process_is_killed"),
    ),
    (
        "2",
        "Power loss after the acknowledgement",
        "The message is still there.",
        "Postfix syncs first; the defaults of OpenSMTPD, KumoMTA and Stalwart do not.",
        (
            f"{_POWER}test_nothing_acknowledged_is_lost_when_the_power_goes",
            f"{_POWER}test_what_is_answered_by_a_commit_that_a_kill_left_unsynced_survives",
            f"{_POWER}test_a_loss_is_found",
        ),
    ),
    (
        "3",
        "kill -9 between the server's 250 and our commit of it",
        "Sent once more, logged `maybe_duplicate`.",
        "Postfix: the same.",
        (_KILLS, _MODEL, "tests/test_restarts.py::test_after_a_reboot_every_lease_is_in_doubt"),
    ),
    (
        "4",
        "kill -9 in a message to 50 recipients, 20 of them done",
        "The other 30 are tried, and nobody twice without a word.",
        "Postfix: marks each recipient that is done.",
        (_KILLS, _MODEL, f"{_PROMISES}test_a_message_half_delivered_goes_on_with_the_other_half"),
    ),
    (
        "5",
        "The disk is full while accepting",
        "An error to the caller, nothing acknowledged; what is queued goes on.",
        "Postfix refuses below 1.5 times its largest message; KumoMTA below 10 % of the disk.",
        (
            f"{_SICK}test_a_full_disk_refuses_with_the_remedy_and_goes_on_when_there_is_room",
            f"{_SICK}test_a_content_that_finds_no_room_is_refused_and_leaves_nothing",
            f"{_SQLITE}test_a_full_disk_refuses_the_batch_and_nothing_else",
            f"{_PROMISES}test_a_failing_store_refuses_submissions_and_keeps_what_it_has",
            f"{_SICK_ENGINE}test_a_disk_that_fills_up_refuses_what_is_new_and_loses_no_outcome",
        ),
    ),
    (
        "6",
        "The disk is full while an outcome is written",
        "The outcome is kept and written later; nothing is sent again for it, nothing new is accepted.",
        "Postfix defers and warns.",
        (
            f"{_PROMISES}test_settlements_outlive_a_failing_store_without_a_second_delivery",
            f"{_PROMISES}test_outcomes_get_the_reserve_and_nothing_is_accepted_until_there_is_room_again",
            _MODEL,
            f"{_SICK_ENGINE}test_a_disk_that_fills_up_refuses_what_is_new_and_loses_no_outcome",
        ),
    ),
    (
        "7",
        "A sync fails",
        "The engine stops loudly and writes no more; it never tries the sync again.",
        "PostgreSQL: panics.",
        (
            f"{_SICK}test_after_a_failed_sync_the_log_is_not_synced_by_the_same_store_again",
            f"{_SICK}test_what_is_committed_after_a_failed_sync_and_a_restart_survives_a_power_failure",
            f"{_SQLITE}test_after_a_failed_sync_nothing_is_written_any_more",
            f"{_PROMISES}test_a_broken_store_stops_the_engine_loudly",
        ),
    ),
    (
        "8",
        "The spool is locked by another program for a minute",
        "An error at the deadline, nothing dropped.",
        "",
        (
            f"{_SICK}test_a_spool_locked_for_a_minute_refuses_at_its_deadline_and_works_again",
            f"{_SICK_ENGINE}test_a_spool_locked_for_a_minute_refuses_at_the_deadline_and_then_everything_goes_on",
            f"{_SQLITE}test_a_locked_spool_is_a_store_error_and_works_again_later",
            "tests/test_gate.py::test_a_spool_that_is_busy_for_good_is_an_error_after_the_deadline",
        ),
    ),
    (
        "9",
        "A damaged page, or half the database is gone",
        "Refused at the start; what can be read is saved apart.",
        "Postfix: one file a message, set aside.",
        (
            f"{_SICK}test_torn_pages_are_refused_or_found_and_nothing_else_is_raised",
            f"{_SICK}test_a_truncated_spool_is_refused_with_what_to_do",
            f"{_SQLITE}test_a_damaged_page_is_refused_at_opening",
            "tests/test_salvage.py::test_whatever_the_damage_what_is_saved_is_true_and_what_is_not_is_named",
            "tests/test_salvage.py::test_an_engine_on_what_was_saved_delivers_what_is_due_and_nothing_that_was_settled",
        ),
    ),
    (
        "10",
        "One record cannot be read",
        "Its message is parked, and said so; the others flow.",
        "Postfix: its queue `corrupt`.",
        (
            f"{_SQLITE}test_a_record_that_cannot_be_read_is_parked_and_the_rest_flow",
            f"{_SICK}test_a_recipient_that_is_no_text_is_parked_and_the_rest_flow",
            f"{_ROWS}test_a_damaged_recipient_is_parked_or_keeps_its_end_and_harms_nobody",
            f"{_ROWS}test_a_damaged_message_is_mended_or_parked_and_harms_nobody",
            f"{_ROWS}test_a_message_with_a_damaged_content_is_parked_and_the_rest_flow",
            f"{_ROWS}test_what_is_damaged_beside_the_messages_stops_nothing",
            f"{_LOST}test_a_message_that_lost_recipients_is_kept_and_named_and_the_others_go_on",
            f"{_LOST}test_a_recipient_that_rose_again_is_not_sent_to_without_a_word",
            _KILLS,
        ),
    ),
    (
        "11",
        "Two engines on one spool",
        "The second one refuses to start.",
        "Postfix: a lock of its master.",
        ("tests/test_opening.py::test_a_second_engine_on_the_same_spool_is_refused",),
    ),
    (
        "12",
        "A SQLite that can damage a WAL",
        "Refused at the start.",
        "",
        (f"{_SQLITE}test_a_sqlite_that_can_corrupt_a_wal_is_refused",),
    ),
    (
        "13",
        "Cancelled at any await of sending or committing",
        "As 1 and 3; a commit that has begun is not given up.",
        "",
        (
            f"{_CUT}callers.py::test_a_call_that_is_cancelled_at_any_checkpoint_harms_nothing",
            f"{_CUT}engine.py::test_an_engine_that_is_cancelled_at_any_checkpoint_loses_nothing",
            f"{_CUT}engine.py::test_a_start_and_an_end_that_are_cancelled_at_any_checkpoint_leave_nothing",
            f"{_CUT}hand_overs.py::test_a_client_that_goes_away_at_any_octet_harms_nothing",
            "tests/smtp/test_smtp_foreign.py::test_the_transport_does_its_duties",
            "tests/test_executor.py::test_a_commit_under_way_is_not_given_up_by_cancellation",
        ),
    ),
    (
        "14",
        "An actor raises",
        "The ring starts anew, what was answered is kept; the third time the engine stops loudly.",
        "Postfix: its master restarts daemons.",
        (
            f"{_CRASHES}test_an_actor_that_raises_once_begins_anew_and_nothing_is_lost",
            f"{_CRASHES}test_an_actor_that_keeps_raising_ends_the_engine_loudly_and_nothing_is_lost",
            f"{_CRASHES}test_an_actor_may_raise_anything",
            f"{_ENGINE}test_an_actor_that_fails_is_restarted_and_a_received_answer_is_kept",
        ),
    ),
    ("15", "PostgreSQL: the connection is lost during COMMIT", "Looked up again: neither lost nor doubled."),
    ("16", "PostgreSQL: a worker sleeps longer than its lease", "Its late result is refused by its token."),
    (
        "17",
        "PostgreSQL fails over to an asynchronous replica",
        "Said in the documentation; claims on the primary only.",
    ),
    (
        "18",
        "Shutdown with 1,000 messages under way",
        "Takes no more, ends or gives up within its grace, loses none.",
        "Postfix: the same.",
        (
            f"{_STOPPED}test_a_process_that_is_told_to_stop_ends_in_time_and_loses_nothing",
            f"{_STOPPED}test_a_second_signal_during_the_drain_ends_it_and_loses_nothing",
            "tests/cli/test_serve.py::test_a_signal_ends_a_start_that_hangs",
            "tests/actors/test_queue_actor.py::test_draining_leases_no_more_and_says_when_all_is_home",
        ),
    ),
)

OUTCOMES: tuple[tuple[Any, ...], ...] = (
    (
        "19",
        "The server closes after the final dot without a reply",
        "In doubt: tried again, and the second try is announced as a possible duplicate.",
        "Postfix defers, and logs that it may be sent twice.",
        (_SINK, f"{_KILLED}test_killed_before_its_answer_to_the_end_it_leaves_doubt"),
    ),
    (
        "20",
        "421 to the final dot",
        "Deferred: an answer is an answer, so without any doubt.",
        "Postfix: the same.",
        (_SINK,),
    ),
    (
        "21",
        "421 in the middle of an envelope",
        "Who has no reply is deferred, who was refused stays refused, and the next message is not harmed.",
        "KumoMTA tests for the same.",
        (_SINK,),
    ),
    (
        "22",
        "5yz in the middle of the content, and the server reads no more",
        "Refused with these words, not deferred as a lost connection.",
        "Postfix looks for an early 5yz.",
        (_SINK,),
    ),
    ("23", "250, 450 and 550 to the recipients of one message", "Each has its own outcome.", "Postfix: the same."),
    (
        "24",
        "452 or 552 after some recipients",
        "Too many: the others are sent to, these go in a further transaction or are tried later. 552 is final with 5.2.x "
        "or 5.3.4 (RFC 1870 section 6.4), or to the first recipient; 452 with 4.2.x or 4.3.1 is no want of room.",
        "mox: the same; Postfix takes 552 as final.",
    ),
    (
        "25",
        "No recipient is accepted, and DATA is answered 354",
        "A lone dot, and nothing counts as delivered.",
        "Postfix: the same.",
    ),
    (
        "26",
        "4yz or 5yz instead of a greeting",
        "The next server; where there is none, deferred.",
        "Postfix: the same, by its defaults.",
        (_SINK,),
    ),
    (
        "27",
        "EHLO is refused, or ends the connection",
        "HELO, on a new connection if need be.",
        "Postfix: the same.",
        (_SINK,),
    ),
    (
        "28",
        "A reply of the wrong class, garbage, no digits",
        "Temporary, and the connection is thrown away; never delivered, never bounced.",
        "Postfix: x.0.0 or 5.5.0; Haraka bounces on what it cannot read.",
    ),
    (
        "29",
        "The enhanced code is of another class than the reply",
        "The reply decides.",
        "Postfix: the same.",
    ),
    (
        "30",
        "A reply without end",
        "Cut at 128 lines, 64 KiB or a line of 4,096 octets; deferred 4.5.0 (after the final dot in doubt), in bounded memory.",
        "Postfix keeps 2,048 octets and reads on.",
    ),
    (
        "31",
        "Silence",
        "Ended at the limit of RFC 5321 section 4.5.3.2 (connection 30 s, greeting and commands 300 s, DATA 120 s, a write of "
        "content 180 s, final dot 600 s; TLS 60 s): 4.4.2.",
        "Postfix: 300, 120, 180 and 600 s.",
    ),
    (
        "32",
        "An octet now and then",
        "Ended at the same limits: a phase has one deadline for all of it.",
        "Postfix: a limit for each read, unless its deadline for a whole request is switched on.",
    ),
    (
        "33",
        "The connection ends (FIN or RST)",
        "Deferred, after the final dot in doubt; on a kept connection that said nothing yet, sent over a new one. Plain text "
        "only where TLS was opportunistic and its handshake failed.",
        "Postfix: the same.",
        (f"{_KILLED}test_killed_in_mid_content_it_defers_and_the_next_try_arrives_once",),
    ),
    ("34", "QUIT is not answered", "Delivered stays delivered.", "Postfix does not wait for it either.", (_SINK,)),
    (
        "35",
        "The kept connection is dead when it is wanted",
        "A new connection; no try and no failure is counted.",
        "Postfix asks by RSET first.",
        (f"{_KILLED}test_an_idle_session_that_the_server_took_with_it_costs_nothing",),
    ),
    (
        "36",
        "Greylisting",
        "Tried again after about 5 minutes and delivered within 15. RFC 5321 section 4.5.4.1 allows less than 30 minutes "
        "where the reason is known.",
        "Postfix: not before 300 s.",
    ),
    (
        "37",
        "4yz for five days",
        "One report 4.4.7; a notice of delay once, where it is switched on.",
        "Postfix: 5 days, no notice.",
        (
            f"{_ENGINE}test_five_days_of_deferrals_end_in_one_report_to_the_sender",
            f"{_ENGINE}test_one_notice_of_delay_when_it_is_switched_on",
        ),
    ),
    (
        "38",
        "Mail with the null sender fails",
        "Never reported; counted.",
        "Postfix: the same.",
        (f"{_ENGINE}test_a_failing_report_is_never_reported", _KILLS),
    ),
    (
        "39",
        "DSN: NOTIFY, RET, ENVID, ORCPT in every combination",
        "As RFC 3461 says for each.",
        "Postfix: the same.",
        (
            "tests/smtp/test_smtp_extensions.py::test_what_was_asked_for_by_rfc_3461_is_passed_on",
            "tests/smtp/test_smtp_extensions.py::test_nothing_of_it_is_invented_or_sent_where_it_is_not_offered",
            "tests/actors/test_bounce_actor.py::test_nobody_gets_a_report_that_nobody_wants",
        ),
        "passing on and NOTIFY=NEVER are shown, not each combination",
    ),
    (
        "40",
        "Null MX, no such name, no record, SERVFAIL, silence of the DNS",
        "5.1.10; 5.1.2; the domain itself, or 5.4.4; deferred; deferred.",
        "Postfix: the same.",
        ("tests/smtp/test_smtp_mx.py::test_mail_for_a_domain_is",),
    ),
    (
        "41",
        "The first MX is dead, the second one works",
        "Delivered in the same attempt.",
        "Postfix: the same; KumoMTA tests for it.",
        ("tests/smtp/test_smtp_opening.py::test_a_host_whose_ipv6_is_dead_gets_its_mail_by_ipv4",),
    ),
    (
        "42",
        "A loop of CNAMEs, an MX that is a CNAME, an MX that is this host, 500 MX",
        "Deferred 4.4.4; followed, at most 10 steps; dropped with all that are worse, and refused 5.4.6 where none is left; "
        "5 addresses and 2 sessions.",
        "Postfix: 10 steps, 5 addresses, 2 sessions.",
        ("tests/smtp/test_smtp_mx.py::test_mail_for_a_domain_is",),
    ),
    (
        "43",
        "An MX leads to this machine, a private network, or no host at all",
        "Refused 5.4.4 by the address that would be connected to, unless `allow_networks` has it; no connection is made.",
        "KumoMTA: its `prohibited_hosts`.",
        ("tests/smtp/test_smtp_dial.py",),
    ),
    (
        "44",
        "A message goes round between two engines",
        "Ended by the count of its hops, with one report.",
        "Postfix: 50 hops.",
        ("tests/decide/test_admission.py::test_mail_that_passed_too_many_servers_goes_round",),
    ),
    (
        "45",
        "The clock jumps by a year, goes back an hour",
        "Nothing expires by the jump alone, and no retry is frozen.",
        "Postfix warns of file systems whose clock drifts.",
        (
            f"{_ENGINE}test_a_wall_clock_that_is_set_back_freezes_no_retry",
            "tests/actors/test_policy_actor.py::test_a_jump_of_the_clock_alone_gives_nothing_up",
            "tests/test_clock.py::test_a_jump_is_noticed_and_followed",
            "tests/test_restarts.py::"
            "test_a_clock_that_was_set_back_between_two_lives_freezes_nothing_and_keeps_what_is_to_be_sent_later",
            "tests/test_restarts.py::test_a_year_of_rest_between_two_lives_gives_up_nothing_that_was_not_tried_since",
        ),
    ),
    ("46", "Summer time, leap seconds, the year 2038", "UTC seconds everywhere."),
)
