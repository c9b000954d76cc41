"""Rows 47 to 70: attacks, and queues and resources that could get stuck.  See `fault_rows.Row` for the columns."""

from __future__ import annotations

from typing import Any

__all__ = ["RESOURCES", "SECURITY"]

SECURITY: tuple[tuple[Any, ...], ...] = (
    (
        "47",
        "The nine smuggling sequences in a body",
        "One message arrives, whose line ends are CRLF and nothing else; NUL in octets is refused.",
        "Postfix: a stray CR or LF becomes a space.",
        (
            "tests/smtp/test_smtp_bytes.py",
            "tests/smtp/test_smtp_encoding.py::test_the_nine_smuggling_sequences_never_leave",
        ),
    ),
    (
        "48",
        "CR, LF, CRLF or NUL in any field",
        "An error that names the field, before anything is stored.",
        "",
        (
            "tests/smtp/test_smtp_parameters.py::test_a_character_is_refused_by_name_or_does_no_harm",
            "tests/compose/test_compose_injection.py::test_a_control_character_is_refused_and_its_field_named",
        ),
    ),
    (
        "49",
        "Replies behind the 220 to STARTTLS",
        "The connection ends (4.7.0), and nothing learnt before TLS is used after it.",
        "Postfix: the same since 2011.",
    ),
    (
        "50",
        "STARTTLS is refused, its handshake fails, the certificate is wrong",
        "By the level: `opportunistic` goes on in plain text where there is no TLS and takes any certificate; `required` takes "
        "any certificate; `verified` none but a good one. Never plain text above `opportunistic`, never a bounce.",
        "Postfix: the same for `may`, its default since 3.11.",
        ("tests/smtp/test_smtp_tls_matrix.py",),
    ),
    (
        "51",
        "MTA-STS enforces, and the MX is not in the policy",
        "Temporary after all MX; the policy's id looked up before any end.",
    ),
    (
        "51a",
        "The MTA-STS policy cannot be fetched",
        "A policy that was remembered binds; without one as if there were no MTA-STS (RFC 8461 section 3.3).",
    ),
    (
        "52",
        "DANE: bogus, mismatch, unusable",
        "The server counts as unreachable; TLS is a must where nothing can be used.",
    ),
    ("53", "REQUIRETLS, and the next hop lacks it", "After all MX 5.7.30 or 5.7.10 at once; never plain text."),
    (
        "54",
        "Octets over 127, UTF-8, a line of 2 MB, to an old server",
        "Written so that it can be carried; what is signed stays as it is, or fails 5.6.3. A UTF-8 address fails 5.6.7, a UTF-8 "
        "header 5.6.9.",
        "Postfix: quoted-printable, breaks long lines, 5.6.7 for both.",
        (
            "tests/smtp/test_smtp_bytes.py::test_what_was_signed_arrives_octet_for_octet_or_not_at_all",
            "tests/smtp/test_smtp_bytes.py::test_what_the_server_cannot_carry_has_its_own_status",
            "tests/compose/test_downgrade.py",
        ),
    ),
    (
        "55",
        "A forged report",
        "Suppresses nobody; told as unverified.",
        "",
        ("tests/actors/test_bounce_actor.py::test_what_comes_back_is_told_as_an_event_and_changes_nothing",),
        "that it changes no outcome is shown; there is no verification yet",
    ),
    (
        "56",
        "A bomb of MIME parts, a report of 20,000 blocks",
        "Bounded in time and memory.",
        "Postfix: 100 levels.",
        (
            "tests/test_dsn_read.py::test_huge_input_is_read_within_bounds",
            "tests/compose/test_downgrade.py::test_a_bomb_of_parts_is_refused",
        ),
        "shown for what is read; there is no listener yet",
    ),
    (
        "57",
        "Hostile words in a reply",
        "Printable and cut in the event, the log, the outcome and the report.",
        "Postfix: makes them printable.",
        ("tests/test_dsn_write.py::test_a_hostile_reply_is_escaped_and_cut_everywhere",),
    ),
    ("58", "The console: no token, CSRF, XSS", "401 or 403, and escaped."),
)

RESOURCES: tuple[tuple[Any, ...], ...] = (
    (
        "59",
        "One dead domain with 100,000 messages",
        "The others do not notice; the dead one is asked seldom.",
        "Postfix: stops after one failed round.",
        (
            "tests/test_engine.py::test_a_site_in_trouble_is_held_and_probed",
            "tests/actors/test_policy_actor.py::test_another_sites_mail_is_not_held_up",
        ),
    ),
    (
        "60",
        "A destination defers everything",
        "The site is backed off from, not each message.",
        "Postfix: feedback by destination.",
    ),
    (
        "61",
        "No descriptors are left",
        "Deliveries are postponed without a try being counted; what needs a file is refused with the remedy, the gate pauses.",
        "Postfix: its daemons wait.",
        (
            "tests/smtp/test_smtp_opening.py::test_without_descriptors_nothing_more_is_tried",
            "tests/actors/test_delivery_actor.py::test_local_trouble_costs_no_try_unless_the_hand_over_had_begun",
            "tests/power/test_sick_engine.py::test_without_descriptors_small_mail_is_accepted_large_is_refused_and_no_try_is_counted",
            "tests/power/test_sick_engine.py::test_a_start_that_the_system_refuses_names_the_remedy",
            "tests/power/test_sick_engine.py::test_the_gate_pauses_while_there_are_no_descriptors",
        ),
    ),
    (
        "62",
        "1,000 messages of 50 MB",
        "Streamed from the spool, memory bounded.",
        "Postfix: streams.",
        (
            "tests/actors/test_delivery_actor.py::test_attempts_hold_a_bounded_number_of_octets",
            "tests/smtp/test_smtp_session.py::test_large_content_is_streamed_and_arrives_as_it_was",
            "tests/scale/test_scale.py::test_many_large_messages_at_once_are_not_in_memory_all_at_once",
            "tests/test_acceptance.py::test_of_many_submitters_only_some_have_their_content_in_memory",
        ),
        "with 30 of 8 MB; `make scale` does it with 1,000 of 20 MB",
    ),
    (
        "63",
        "The DNS is dead for an hour",
        "All deferred, nothing bounced, no storm when it is back.",
        "Postfix: 4.4.3.",
        ("tests/smtp/test_smtp_mx.py::test_a_dead_dns_server_is_not_asked_for_each_message",),
    ),
    (
        "64",
        "No network for an hour, then 100,000 messages are due",
        "Drained with jitter and a bound on connections.",
        "Postfix: its queue manager.",
    ),
    (
        "65",
        "A plugin raises, hangs, answers nonsense",
        "That message is deferred at its deadline; the others go on.",
        "Postfix: the milter's default action.",
        (
            "tests/test_misbehaviour.py::test_a_transport_that_raises_defers_that_message_alone",
            "tests/test_misbehaviour.py::test_a_transport_that_answers_nonsense_defers_that_message_alone",
            "tests/test_misbehaviour.py::test_a_transport_whose_end_hangs_is_given_up_and_named",
            "tests/test_misbehaviour.py::test_a_door_hook_that_raises_refuses_that_submission_and_is_named",
        ),
    ),
    (
        "66",
        "An HTTP transport, or a callback by HTTP: 429, 500, silence after the body",
        "429 and 500 are temporary; silence is in doubt, as with SMTP; an idempotency key goes along, the same at each try.",
        "KumoMTA: its webhooks.",
        (
            "tests/http/test_http_replies.py::test_what_proves_nothing_is_temporary",
            "tests/http/test_http_replies.py::test_no_answer_in_time_is_in_doubt",
            "tests/http/test_http_replies.py::test_cut_after_the_request_is_in_doubt_and_handed_over",
            "tests/http/test_http_requests.py::test_what_is_idempotent_says_so_and_the_others_do_not",
            "tests/appengine/test_callbacks_http.py::test_nothing_else_refuses_it",
            "tests/appengine/test_callbacks_http.py::test_all_was_sent_and_no_answer_seen",
            "tests/appengine/test_callbacks_http.py::test_each_try_has_the_same_key_and_says_when_it_may_be_a_duplicate",
            "tests/appengine/test_callbacks_attacked.py::test_whatever_an_application_does_mail_goes_on_and_nothing_is_lost",
        ),
    ),
    (
        "67",
        "The log's disk is full, or its sink blocks",
        "Mail goes on, drops are counted.",
        "",
        (
            "tests/test_log_sink.py::test_a_full_disk_costs_lines",
            "tests/test_log_sink.py::test_a_reader_that_is_stuck_costs_lines_which_the_next_line_counts",
            "tests/test_log_sink.py::test_mail_goes_on_while_the_logs_reader_is_stuck",
            "tests/test_log_sink.py::test_mail_goes_on_while_every_line_of_the_log_raises",
        ),
    ),
    ("68", "The configuration is read anew, and is wrong", "The old one stays, loudly."),
    (
        "69",
        "A newer version's spool meets an older program",
        "Refused by its version, and left alone.",
        "",
        ("tests/store/test_sqlite.py::test_a_spool_of_a_later_version_is_left_alone",),
        "the refusal is shown; there has been no version to upgrade from",
    ),
    (
        "70",
        "A spool is restored from a backup",
        "What was delivered is not sent again unless asked for.",
        "Postfix: requeueing.",
        (
            "tests/test_restored.py::test_what_was_delivered_after_the_backup_is_held_in_doubt_and_not_sent_again",
            "tests/test_restored.py::test_a_backup_of_the_same_life_is_noticed_once_housekeeping_has_been_there",
            "tests/test_restored.py::test_a_backup_that_is_put_into_another_folder_without_the_file_beside_it_is_noticed",
            "tests/test_restored.py::test_what_is_held_is_sent_when_somebody_asks_for_it_and_stays_in_doubt",
            "tests/test_restored.py::test_the_file_is_never_ahead_of_what_is_committed_whichever_commit_a_kill_cuts",
        ),
        "a copy of the whole folder is noticed only where `postroad.db.reached` was deleted",
    ),
)
