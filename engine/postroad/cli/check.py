"""`postroad check`: every problem of a configuration, its plugins and transports, and on request of the whole spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .exits import CONFIG, TEMPFAIL
from .show import as_json_option, show_json, table
from .where import Where

if TYPE_CHECKING:
    from .checking import Finding

__all__ = ["check"]


@click.command()
@click.option("--spool", "reads_spool", is_flag=True, help="Read everything in the spool; no engine may run on it.")
@as_json_option
@click.pass_obj
def check(where: Where, reads_spool: bool, as_json: bool) -> None:  # click's signature
    """Look for problems: the configuration (all of them at once), plugins, transports, and the spool if asked.

    Transports are made and closed again; nothing is sent.  Ends with 78 for a problem of the configuration, 75 for one of
    the spool; a warning alone ends with 0.
    """
    from .checking import check_everything

    findings = check_everything(where, reads_spool=reads_spool)
    if as_json:
        show_json([_record(each) for each in findings])
    elif findings:
        click.echo(table(("PART", "WHERE", "PROBLEM"), map(_row, findings)))
    problems = [each for each in findings if not each.is_warning]
    if not problems and not as_json:
        click.echo("no problems" + (", and the spool is sound" if reads_spool else ""))
    _end(problems)


def _record(finding: Finding) -> dict[str, str]:
    level = "warning" if finding.is_warning else "problem"
    return {"level": level, "part": finding.part, "where": finding.where, "problem": finding.problem}


def _row(finding: Finding) -> tuple[str, str, str]:
    return finding.part, finding.where, ("warning: " if finding.is_warning else "") + finding.problem


def _end(problems: list[Finding]) -> None:
    parts = {finding.part for finding in problems}
    if parts - {"spool"}:
        raise click.exceptions.Exit(CONFIG)
    if parts:
        raise click.exceptions.Exit(TEMPFAIL)
