"""Mutants of what keeps the mail: the SQLite store, and the rules of a recipient's row."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["STORE"]

_CONTRACT = "store/test_contract.py::test_the_sqlite_store_keeps_the_contract"
_MEMORY = "store/test_contract.py::test_the_memory_store_keeps_the_contract"
_SQLITE = "store/test_sqlite.py"
_OPEN = "engine/postroad/store/sqlite_open.py"
_STORE = "engine/postroad/store/sqlite.py"
_WRITER = "engine/postroad/store/sqlite_writer.py"
_SQL = "engine/postroad/store/sql.py"
_ROWS = "engine/postroad/store/rows.py"

STORE = (
    Mutant(
        "commits are not synced",
        "P1 I1",
        "lets SQLite answer COMMIT before the log is on the disk",
        _OPEN,
        '"PRAGMA synchronous = FULL"',
        '"PRAGMA synchronous = NORMAL"',
        (f"{_SQLITE}::test_the_settings_that_durability_depends_on",),
    ),
    Mutant(
        "going to WAL before it is durable",
        "P1 I1",
        "goes to WAL with the rollback journal's end not yet durable: it may come back and undo that",
        _OPEN,
        '"PRAGMA synchronous = EXTRA"',
        '"PRAGMA synchronous = FULL"',
        (f"{_SQLITE}::test_a_new_spool_goes_to_wal_in_the_order_that_survives_power_failures",),
    ),
    Mutant(
        "the spool's folder is not synced",
        "P1 I1",
        "uses a new spool whose name in its folder is not durable",
        _OPEN,
        "        sync_folder(path.parent)\n",
        "",
        (f"{_SQLITE}::test_the_folder_is_synced_after_the_files_are_there",),
    ),
    Mutant(
        "an unsynced log is built upon",
        "P1 I1",
        "does not write an earlier life's log anew before it commits behind it",
        _OPEN,
        "            _renew_log(path, connection)\n",
        "",
        (
            "power/test_sick_storage.py::test_what_is_committed_after_a_failed_sync_and_a_restart_survives_a_power_failure",
        ),
    ),
    Mutant(
        "a failed sync is tried again",
        "P3",
        "goes on writing a file after a sync of it has failed",
        _STORE,
        "self._broken = str(error)",
        "pass",
        (f"{_SQLITE}::test_after_a_failed_sync_nothing_is_written_any_more",),
    ),
    Mutant(
        "closing folds in a log that failed",
        "P3",
        "lets the last close checkpoint, and sync, a log whose sync has failed",
        _STORE,
        "            self._leave_log()\n",
        "",
        ("power/test_sick_storage.py::test_after_a_failed_sync_the_log_is_not_synced_by_the_same_store_again",),
    ),
    Mutant(
        "a damaged spool is opened",
        "P3",
        "opens a file whose pages are damaged",
        _OPEN,
        "    if problems:\n",
        "    if False:\n",
        (f"{_SQLITE}::test_a_damaged_page_is_refused_at_opening",),
    ),
    Mutant(
        "a stale lease settles",
        "P2 I3",
        "settles by a token that owns nothing any more",
        _WRITER,
        "if row is None or not rows.is_owned(row, outcome):",
        "if row is None:",
        (f"{_CONTRACT}[a_stale_token_changes_nothing]",),
    ),
    Mutant(
        "a report without its mark",
        "P1 I3",
        "stores a report and leaves its recipients FAILED, to be reported again",
        _WRITER,
        "self._change([rows.reported(row, wanted=report.accept is not None) for row in known.values()], report.now)",
        "pass",
        (f"{_CONTRACT}[failed_counts_until_reported]",),
    ),
    Mutant(
        "a mark without its report",
        "P1 I1",
        "marks recipients as reported and stores no report",
        _WRITER,
        "answer = self._accept([report.accept])[0] if report.accept else None\n        if isinstance(answer",
        "answer = None\n        if isinstance(answer",
        (f"{_CONTRACT}[failed_counts_until_reported]",),
    ),
    Mutant(
        "a report on nobody",
        "I3",
        "stores a report that tells of a recipient which is not there",
        _WRITER,
        "if len(known) != len(report.numbers):",
        "if False:",
        (f"{_CONTRACT}[a_report_on_nobody_is_refused]",),
    ),
    Mutant(
        "a content is dropped at the first end",
        "P1 I1",
        "drops a content when the first recipient of a message is done",
        _WRITER,
        "[(handle,) for handle in closed])\n",
        "[(handle,) for handle in ended])\n",
        (f"{_CONTRACT}[finished_with_the_last_recipient]",),
    ),
    Mutant(
        "the history forgets what is unfinished",
        "P1 I1",
        "prunes messages that wait",
        _SQL,
        "INDEXED BY finished WHERE finished_at IS NOT NULL AND finished_at < ?\n"
        "    AND unfinished IS 0 AND NOT EXISTS (\n"
        "        SELECT 1 FROM recipient WHERE place BETWEEN seq << <BITS> AND seq << <BITS> | <MASK> AND state NOT IN <ENDS>\n"
        "    )",
        "WHERE ifnull(finished_at, 0) < ?",
        (f"{_CONTRACT}[forgetting]",),
    ),
    Mutant(
        "one sender's key is everybody's",
        "P1 I4",
        "answers a sender with another's message because both used one idempotency key",
        _SQL,
        "FROM idempotency WHERE sender = ? AND key = ?",
        "FROM idempotency WHERE ? <> '' AND key = ?",
        (f"{_CONTRACT}[a_key_is_used_once]",),
    ),
    Mutant(
        "an id is stored twice",
        "P2 I2",
        "stores what is handed over again under its id as a second message",
        _WRITER,
        "handle = known.get(accept.message.id)",
        "handle = None",
        (f"{_CONTRACT}[the_same_id_is_a_duplicate]",),
    ),
    Mutant(
        "tries are counted twice",
        "I7",
        "counts one attempt as two",
        _ROWS,
        "attempts=row.attempts + outcome.tried,",
        "attempts=row.attempts + 2 * outcome.tried,",
        (f"{_MEMORY}[each_step_has_its_state]",),
    ),
    Mutant(
        "the next attempt clears a doubt",
        "P2 I2",
        "forgets at the next attempt that an earlier one may have delivered",
        _ROWS,
        "doubted=row.doubted or outcome.leaves_doubt,",
        "doubted=outcome.leaves_doubt,",
        (f"{_MEMORY}[a_doubt_is_never_forgotten]",),
    ),
    Mutant(
        "a crash clears a doubt",
        "P2 I2",
        "forgets a doubt when the engine dies during the next attempt",
        _ROWS,
        "doubted=row.doubted or doubted,",
        "doubted=doubted,",
        (f"{_MEMORY}[recovering_forgets_no_doubt]",),
    ),
    Mutant(
        "marks are believed after a reboot",
        "P2 I2",
        "takes what was leased as untried although the marks may be lost",
        _ROWS,
        "doubted = recover.rebooted or row.token in recover.marked",
        "doubted = row.token in recover.marked",
        (f"{_MEMORY}[recovering_after_a_boot]", "test_restarts.py::test_after_a_reboot_every_lease_is_in_doubt"),
    ),
    Mutant(
        "marks are not looked at",
        "P2 I2",
        "takes a hand-over that was cut by a kill as not begun",
        _ROWS,
        "doubted = recover.rebooted or row.token in recover.marked",
        "doubted = recover.rebooted",
        (f"{_MEMORY}[recovering]",),
    ),
    Mutant(
        "cancelling beats a delivery",
        "I3",
        "tells of what was delivered that it was cancelled",
        _ROWS,
        "step = Step.CANCEL if row.cancelling and outcome.step is not Step.DELIVER else outcome.step",
        "step = Step.CANCEL if row.cancelling else outcome.step",
        (f"{_MEMORY}[cancelling_waits_for_the_attempt]",),
    ),
    Mutant(
        "a cancellation is forgotten",
        "P1 I3",
        "goes on with what was cancelled during an attempt",
        _ROWS,
        "step = Step.CANCEL if row.cancelling and outcome.step is not Step.DELIVER else outcome.step",
        "step = outcome.step",
        (f"{_MEMORY}[cancelling_waits_for_the_attempt]",),
    ),
)
