"""Any number of worker processes and threads: none of their messages is lost, none doubled, no quota exceeded."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from email import message_from_bytes
from pathlib import Path

import pytest

PREFORK = Path(__file__).with_name("prefork.py")
FORK_AMID = Path(__file__).with_name("fork_amid.py")
FORKS = 6


def run(site, *counts, first=""):
    """The ids that the workers had, and the program's exit code."""
    words = [sys.executable, PREFORK, site.url, *map(str, counts), *([first] if first else [])]
    said = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, check=False)
    return said.stdout.split(), said


def fork_amid(site):
    return subprocess.run(
        [sys.executable, FORK_AMID, site.url, str(FORKS)], capture_output=True, text=True, timeout=120, check=False
    )


def subjects(processes, threads, messages):
    return Counter(f"{p}.{t}.{n}" for p in range(processes) for t in range(threads) for n in range(messages))


@pytest.mark.parametrize("first", ["", "first"], ids=["forked after the import", "forked after the first message"])
def test_all_that_workers_send_is_delivered_once_by_the_running_engine(site, first):
    wanted = subjects(4, 2, 10) + (Counter(["first", "last"]) if first else Counter())
    with site.engine(delivering=wanted.total()):
        ids, said = run(site, 4, 2, 10, first=first)
    assert said.returncode == 0, said.stderr
    assert len(set(ids)) == len(ids) == wanted.total()
    assert Counter(message_from_bytes(call.content)["Subject"] for call in site.transport.calls) == wanted


def test_all_that_workers_send_while_no_engine_runs_is_in_the_spool_once(site):
    with site.engine():
        pass
    ids, said = run(site, 3, 2, 5, first="first")
    assert said.returncode == 0, said.stderr
    stored = site.stored()
    assert sorted(each.message.id for each, _ in stored) == sorted(ids)
    found = Counter(message_from_bytes(content)["Subject"] for _, content in stored)
    assert found == subjects(3, 2, 5) + Counter(["first", "last"])


@pytest.mark.parametrize("is_running", [True, False], ids=["engine", "no engine"])
def test_a_child_that_is_forked_while_others_send_can_send_too(site, is_running):
    with site.engine():
        if is_running:
            said = fork_amid(site)
    if not is_running:
        said = fork_amid(site)
    assert said.returncode == 0, said.stderr
    ids = said.stdout.split()
    assert len(set(ids)) == len(ids) > FORKS
    assert sorted(each.message.id for each, _ in site.stored()) == sorted(ids)


@pytest.mark.parametrize("is_running", [True, False], ids=["engine", "no engine"])
def test_a_race_of_workers_does_not_exceed_a_quota_by_one(site, is_running):
    site.configure(quotas={"recipients_per_day": 17})
    with site.engine():
        if is_running:
            ids, said = run(site, 8, 1, 3)
    if not is_running:
        ids, said = run(site, 8, 1, 3)
    assert "OverQuotaError" in said.stderr
    assert len(ids) == len(site.stored()) == 17
