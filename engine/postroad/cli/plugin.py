"""`postroad plugin`: what is installed, whether it is in order, and a package to begin one of your own with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .exits import USER
from .show import as_json_option, show_json, table
from .where import Where

if TYPE_CHECKING:
    from .plugin_list import Installed
    from .plugin_new import Kind

__all__ = ["plugin"]


@click.group()
def plugin() -> None:
    """List, check and begin plugins: transports, stores, hooks."""


@plugin.command("list")
@as_json_option
def list_(as_json: bool) -> None:  # click's signature
    """Show every installed plugin: what it registers, its version, and why it is broken where it is."""
    from .plugin_list import installed_plugins

    found = installed_plugins()
    if as_json:
        show_json(found)
    elif found:
        click.echo(table(("PLUGIN", "VERSION", "FROM", "REGISTERS"), map(_row, found)))
    else:
        click.echo("none; reinstall postroad: it brings some itself")


def _row(found: Installed) -> tuple[str, ...]:
    what = [
        *(f"transport {name}" for name in found.transports),
        *(f"store {name}" for name in found.stores),
        *(name.removeprefix("postroad_") for name in found.hooks),
    ]
    registers = f"BROKEN: {found.problem}" if found.problem else ", ".join(what)
    return found.name, found.version, found.distribution, registers


@plugin.command("check")
@click.argument("name")
@click.option(
    "--set",
    "given",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting to open its transport with, the value as in TOML; without any, those of the configuration if there is one.",
)
@click.option(
    "--ask-hooks", is_flag=True, help="Also call its hooks with sample mail and events; they may have effects."
)
@as_json_option
@click.pass_obj
def check(where: Where, name: str, given: tuple[str, ...], ask_hooks: bool, as_json: bool) -> None:  # click's signature
    """Try an installed plugin against the contract.  Transports are made and closed again; nothing is sent.

    Ends with 1 where something is wrong, and says what, what was expected, and which duty it is.
    """
    from ..testing.plugin_suite import try_plugin

    settings = {name: _read_settings(given)} if given else _configured(where, name)
    report = try_plugin(name, settings=settings, skip=() if ask_hooks else {"hooks_answer"})
    if as_json:
        show_json(report.results)
    else:
        for result in report.results:
            click.echo(str(result))
    if report.problems:
        raise click.exceptions.Exit(USER)


def _read_settings(given: tuple[str, ...]) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        text = f"{', '.join(given)}: {error}; write values as in TOML, such as --set 'url=\"https://chat.example/x\"'"
        raise click.BadParameter(text, param_hint="--set") from None


def _configured(where: Where, name: str) -> dict[str, dict[str, Any]]:
    """Settings of the first transport of each kind in the configuration; only those of this plugin are used."""
    if where.file is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for table_ in where.config().transports.values():
        own = {key: value for key, value in table_.items() if key != "plugin"}
        if table_["plugin"] == name:
            found.setdefault(name, own)
    return found


@plugin.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["transport", "store", "hooks"]),
    default="transport",
    show_default=True,
    help="Of what kind.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; by default ./postroad-NAME.")
def new(name: str, kind: str, folder: Path | None) -> None:
    """Write a package for a plugin, with tests and a CI file, that passes the kit as it is."""
    from .plugin_new import NewPlugin, write_package

    named = NewPlugin(name)
    place = folder or Path(named.distribution)
    for path in write_package(named, cast("Kind", kind), place):
        click.echo(path)
    click.echo(f"\nA configuration calls it {named.name}.")
    click.echo(f'Next: cd {place}, then pip install --editable ".[dev]" and pytest; README.md goes on from there.')
