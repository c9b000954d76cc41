"""Mutants of what is done about damage: rows, the log, salvage, restored backups."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["DAMAGE"]

_STORE = "engine/postroad/store"
_WRITER = f"{_STORE}/sqlite_writer.py"
_DAMAGE = f"{_STORE}/sqlite_damage.py"
_LOG = f"{_STORE}/sqlite_log.py"
_PAGES = f"{_STORE}/sqlite_pages.py"
_ROWS = f"{_STORE}/rows.py"
_OPENING = "engine/postroad/opening.py"
_CONTRADICTING = "power/test_contradicting_rows.py"
_LOST = "power/test_lost_rows.py"
_HOSTILE = "test_salvage_hostile.py"
_RESTORED = "test_restored.py"
_MISLAID = f"{_CONTRADICTING}::test_a_message_that_does_not_tell_where_its_content_is_is_sent_once"
_TORN = f"{_CONTRADICTING}::test_a_recipient_whose_state_and_token_differ_is_not_sent_to_without_a_word"
_TORN_HELD = f"{_CONTRADICTING}::test_a_recipient_whose_state_and_token_differ_is_held_where_its_route_asks"
_RETURNS = f"{_HOSTILE}::test_what_is_left_of_a_log_that_was_folded_in_brings_nothing_older_back"

DAMAGE = (
    Mutant(
        "a content that is nowhere is leased",
        "P1 P2",
        "leases a message whose row does not tell where its content is",
        _WRITER,
        "content = found\n        if not isinstance(file, str | None):",
        "content = found\n        if False:",
        (_MISLAID,),
    ),
    Mutant(
        "a wrong content file is not noticed",
        "P2 P3",
        "starts on a message whose row names a content file that is none",
        _DAMAGE,
        "    if not (file is None or (isinstance(file, str) and not is_in_database)):",
        "    if False:",
        (_MISLAID,),
    ),
    Mutant(
        "a content is read where the row says",
        "P1",
        "looks into a file for a content that is in the database",
        f"{_STORE}/sqlite_reader.py",
        "found: object = connection.execute(sql.CONTENT, (handle,)).get",
        "found: object = None if file else connection.execute(sql.CONTENT, (handle,)).get",
        (f"{_CONTRADICTING}::test_what_lies_in_the_database_is_read_from_there_whatever_the_row_says",),
    ),
    Mutant(
        "a torn row is believed",
        "P2 I9",
        "sends again, without a word, to a recipient that waits with the token of an attempt",
        _ROWS,
        "return (row.state is State.LEASED) is not bool(row.token)",
        "return False",
        (_TORN, _TORN_HELD),
    ),
    Mutant(
        "a state that became an end by itself is believed",
        "P1 I1",
        "ends mail that nothing settled",
        _ROWS,
        " or (row.state in ENDS and row.settled_at is None)",
        "",
        (f"{_CONTRADICTING}::test_mail_whose_state_became_an_end_by_a_flipped_bit_is_not_lost",),
    ),
    Mutant(
        "room behind the log is damage",
        "P2",
        "takes zeros behind a commit that the power cut short for a damaged log, so that salvage trusts nothing",
        _PAGES,
        "[page for page in bad if page]",
        "bad",
        ("store/test_sqlite_log.py::test_a_commit_that_the_power_cut_short_in_its_room_is_no_damage",),
    ),
    Mutant(
        "a failed sync of the log's room is ignored",
        "P3",
        "goes on writing a log after a sync of it has failed",
        f"{_STORE}/sqlite_open.py",
        '        raise apsw.IOError(f"the log cannot be synced: {error}") from error\n',
        "        pass\n",
        ("power/test_sick_storage.py::test_room_whose_sync_failed_ends_the_writing",),
    ),
    Mutant(
        "indexes are believed",
        "P1 I1",
        "never sends what a damaged index does not lead to",
        f"{_STORE}/sqlite_open.py",
        "found = [text for (text,) in connection.execute(sql.INTEGRITY)",
        'found = [text for (text,) in connection.execute("PRAGMA quick_check")',
        ("power/test_damaged_indexes.py::test_mail_that_its_index_lost_is_delivered_all_the_same",),
    ),
    Mutant(
        "a torn row is leased",
        "P2 I9",
        "leases, in a spool that is not read at once, what an attempt may have",
        _WRITER,
        "if rows.is_torn(row):",
        "if False:",
        (_TORN,),
    ),
    Mutant(
        "a lease without a token was never handed over",
        "P2 I9",
        "takes an attempt whose token is lost for one that had not begun to hand over",
        _ROWS,
        " or not row.token  #",
        "  #",
        (_TORN,),
    ),
    Mutant(
        "an end beside a token is believed",
        "P1 I1",
        "takes as delivered what an attempt had, although its message counts it as unfinished",
        _DAMAGE,
        "is_open = connection.execute(sql_damage.COUNTS_MORE, (row.handle,)).get == 1",
        "is_open = False",
        (_TORN,),
    ),
    Mutant(
        "the routes are not asked while the engine works",
        "P2",
        "sends again what is found in doubt at work, though its route asks",
        f"{_STORE}/sqlite.py",
        "self._doubt = recover.doubt",
        "pass",
        (_TORN_HELD,),
    ),
    Mutant(
        "what rose again is sent to without a word",
        "P2 I9",
        "does not doubt recipients of a message that counts fewer unfinished ones",
        _DAMAGE,
        "if counters.has_risen:",
        "if False:",
        (f"{_LOST}::test_a_recipient_that_rose_again_is_not_sent_to_without_a_word",),
    ),
    Mutant(
        "lost recipients finish a message",
        "P1 I1",
        "forgets a message that counts recipients which are lost",
        f"{_STORE}/sql.py",
        "    AND unfinished IS 0 AND NOT EXISTS (",
        "    AND NOT EXISTS (",
        (f"{_LOST}::test_a_moment_of_finishing_that_is_damaged_forgets_no_lost_recipient",),
    ),
    Mutant(
        "a message that lost recipients never ends",
        "P4",
        "leaves lost recipients where their message is cancelled",
        _WRITER,
        "if cancel.filter == Filter(id=cancel.filter.id):",
        "if False:",
        (f"{_LOST}::test_cancelling_a_message_by_its_id_ends_what_it_lost",),
    ),
    Mutant(
        "cancelling one gives up the lost",
        "P1 I1",
        "gives lost recipients up where one of the others is cancelled",
        _WRITER,
        "if cancel.filter == Filter(id=cancel.filter.id):",
        "if cancel.filter.id:",
        (f"{_LOST}::test_what_is_being_tried_ends_a_cancelled_message_that_lost_recipients",),
    ),
    Mutant(
        "a damaged log is opened",
        "P2 P3",
        "lets SQLite take the first damaged frame for the end of the log",
        f"{_STORE}/sqlite_open.py",
        "        if lost:\n",
        "        if False:\n",
        (
            f"{_HOSTILE}::test_no_engine_starts_on_what_is_left_of_a_log_that_was_folded_in",
            "store/test_sqlite_log.py::test_a_spool_with_a_damaged_log_is_refused_untouched_and_salvage_is_named",
        ),
    ),
    Mutant(
        "a damaged log that is over is opened",
        "P2 P3",
        "takes one commit behind damage for what a power failure left, though all was synced",
        _LOG,
        "if behind > (0 if is_over else 1):",
        "if behind > 1:",
        (f"{_HOSTILE}::test_no_engine_starts_on_a_damaged_log_that_is_about_to_begin_anew",),
    ),
    Mutant(
        "salvage brings a folded log back",
        "P2",
        "prefers what is left of a log to the newer pages of the main file",
        _PAGES,
        "        if known < folded:\n",
        "        if False:\n",
        (_RETURNS,),
    ),
    Mutant(
        "salvage brings a log back that is over",
        "P2",
        "does not know that an index one run ahead says that all is in the main file",
        _LOG,
        "        if self.follows(log):\n",
        "        if False:\n",
        (f"{_HOSTILE}::test_what_is_left_of_a_log_that_is_about_to_begin_anew_brings_nothing_older_back",),
    ),
    Mutant(
        "salvage believes a torn row",
        "P2 I9",
        "saves as due what an attempt may have had",
        "engine/postroad/salvage.py",
        "        self._untear(letter, lost)\n",
        "",
        (f"{_CONTRADICTING}::test_salvage_takes_a_recipient_whose_state_and_token_differ_as_in_doubt",),
    ),
    Mutant(
        "salvage shares a page",
        "P1",
        "saves a message with a part of another's content",
        f"{_STORE}/sqlite_carving.py",
        "if more is None or is_anothers or number in self._shared:",
        "if more is None:",
        (
            f"{_HOSTILE}::test_a_content_that_leads_into_anothers_pages_spoils_both_and_is_never_sent_as_its_own",
            f"{_HOSTILE}::test_a_content_that_goes_over_to_anothers_pages_on_its_way_is_not_whole",
        ),
    ),
    Mutant(
        "a restored spool sends at once",
        "P2",
        "does not notice that a spool is older than what ran on it",
        _OPENING,
        "restored = reached.is_ahead_of(",
        "restored = False and reached.is_ahead_of(",
        (f"{_RESTORED}::test_what_was_delivered_after_the_backup_is_held_in_doubt_and_not_sent_again",),
    ),
    Mutant(
        "how far a spool has come is not written down",
        "P2",
        "notices no backup that the same life made",
        "engine/postroad/housekeeping.py",
        "            ports.reached.note(Progress(ports.reached.life, int(now)))\n",
        "",
        (f"{_RESTORED}::test_a_backup_of_the_same_life_is_noticed_once_housekeeping_has_been_there",),
    ),
    Mutant(
        "a clock set back delays what was given since",
        "P4",
        "leaves a send_at on the scale of the clock that was ahead",
        _WRITER,
        "            self._execute(sql.PUT_BACK_ON_THE_WALL, times)\n",
        "",
        ("store/test_contract.py::test_the_sqlite_store_keeps_the_contract",),
    ),
    Mutant(
        "a clock set back is never made good",
        "P4",
        "does not note how far the clock is ahead of the wall when it accepts",
        "engine/postroad/door.py",
        "            ahead=ahead,\n",
        "",
        ("test_restarts.py::test_what_was_given_while_the_wall_was_set_back_leaves_at_its_send_at_after_a_restart",),
    ),
    Mutant(
        "a damaged spool is tried for ever",
        "P3",
        "tells a service manager to start again on a damaged spool",
        "engine/postroad/cli/exits.py",
        "return DATA if any(",
        "return exit_code_of(error) if any(",
        ("cli/test_serve.py::test_a_damaged_spool_is_not_tried_again_by_a_service_manager",),
    ),
    Mutant(
        "what failing actors leave is not told",
        "I9",
        "names nothing of what actors that failed left to nobody",
        "engine/postroad/actors/__init__.py",
        "    tell_recovered(recovered)\n",
        "",
        ("test_restarts.py::test_what_failing_actors_leave_to_nobody_is_named_as_at_a_start",),
    ),
)
