"""Mutants of what keeps damaged contents from everybody."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["CONTENTS"]

_CHECKSUM = "engine/postroad/checksum.py"
_CONTENT = "engine/postroad/content.py"
_PIECES = "test_content.py"
_DAMAGED = "power/test_damaged_contents.py"

CONTENTS = (
    Mutant(
        "checksums are not compared",
        "P3",
        "delivers a content that has the right size, whatever it holds",
        _CHECKSUM,
        "if message.checksum is not None and checksum != message.checksum:",
        "if False:",
        (
            f"{_DAMAGED}::test_a_content_that_changed_is_given_to_nobody",
            f"{_DAMAGED}::test_the_contents_of_two_messages_that_were_swapped_reach_nobody",
        ),
    ),
    Mutant(
        "a content read along with its lease is not compared",
        "P3",
        "believes what the store reads along",
        "engine/postroad/actors/queue.py",
        "if record.content is not None and not content_flaw(record.message, record.content):",
        "if record.content is not None:",
        (f"{_DAMAGED}::test_a_content_that_changed_is_given_to_nobody",),
    ),
    Mutant(
        "a content in a file is not compared",
        "P3",
        "gives out the file's first pieces before it knows the rest",
        _CONTENT,
        "            self._refuse(flaw)\n",
        "",
        (f"{_DAMAGED}::test_a_content_that_changed_is_given_to_nobody",),
    ),
    Mutant(
        "a content's file stays open",
        "P6",
        "keeps a descriptor for each large content that was read",
        _CONTENT,
        "        with file:\n",
        "        if file:\n",
        (
            f"{_PIECES}::test_pieces_are_not_read_after_their_file_was_let_go_of",
            f"{_PIECES}::test_a_file_is_closed_whatever_becomes_of_its_reader",
        ),
    ),
    Mutant(
        "a damaged content is tried again",
        "P3 P4",
        "defers its recipients until they are given up and bounced",
        "engine/postroad/decide/retry.py",
        "if damage and (step in _STAYS or is_kept):",
        "if False:",
        (f"{_DAMAGED}::test_a_content_that_is_brought_back_is_delivered_once_it_is_released",),
    ),
    Mutant(
        "a disk that cannot be read damages a content",
        "P4",
        "parks what a later try could read",
        _CONTENT,
        'self._refuse(FILE_GONE if isinstance(error, FileNotFoundError) else "")',
        "self._refuse(FILE_GONE)",
        (f"{_DAMAGED}::test_a_disk_that_cannot_be_read_defers_and_parks_nothing",),
    ),
    Mutant(
        "reports carry no checksum",
        "P3",
        "keeps no sum of what the engine writes itself",
        "engine/postroad/actors/reporting.py",
        "            checksum=crc32(content),\n",
        "",
        (f"{_DAMAGED}::test_a_report_that_changed_on_the_disk_is_parked",),
    ),
)
