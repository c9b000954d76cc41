"""The cases of `check_plugin`: one small function each, which yields what is wrong; see `PLUGIN_DUTIES`."""

from __future__ import annotations

import ast
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ..errors import ConfigError, PluginError
from ..plugins import Plugins
from ..strangers import as_exceptions, words_for
from .leftovers import open_descriptors, open_things, wait_closed
from .plugin_hooks import answers_of, odd_annotations
from .plugin_import import import_alone
from .plugin_subject import PUBLIC_MODULES, Subject, described_fields
from .transport_bench import NotTried

__all__ = ["CASES", "PluginCase"]

_MOST_IMPORT_SECONDS = 0.5
_OPEN_SECONDS = 30.0
_UNKNOWN = "no_such_setting"


@dataclass(frozen=True, slots=True)
class PluginCase:
    name: str
    expected: str
    duty: str
    run: Callable[[Subject], Iterator[str]]


CASES: list[PluginCase] = []
_Run = Callable[[Subject], Iterator[str]]


def _case(expected: str, duty: str) -> Callable[[_Run], _Run]:
    def enlist(run: _Run) -> _Run:
        CASES.append(PluginCase(run.__name__, expected, duty, run))
        return run

    return enlist


def _require_loaded(subject: Subject) -> None:
    if subject.trouble or subject.misfit:
        raise NotTried("it cannot be loaded")


@_case("one distribution has an entry point of this name in the group `postroad`", "H1")
def found_once(subject: Subject) -> Iterator[str]:
    if len(subject.points) > 1:
        owners = sorted(point.dist.name if point.dist else "?" for point in subject.points)
        yield f"{len(subject.points)} have it: {', '.join(owners)}"


@_case("the entry point loads", "H1")
def loads(subject: Subject) -> Iterator[str]:
    if subject.trouble:
        yield subject.trouble


@_case("it has hooks, of the names and arguments in `postroad.hookspecs`, and they are synchronous", "H3")
def fits_the_contract(subject: Subject) -> Iterator[str]:
    if subject.trouble:
        raise NotTried("it cannot be loaded")
    if subject.misfit:
        yield subject.misfit
    elif not subject.plugins.hooks_of(subject.name):
        yield f"{subject.points[0].value} has no function marked with hookimpl"


@_case("annotations of hooks are those of the specification", "H3")
def typed_as_specified(subject: Subject) -> Iterator[str]:
    _require_loaded(subject)
    for hook, function in subject.plugins.hooks_of(subject.name).items():
        yield from odd_annotations(hook, function)


@_case("the hooks that route, admit and take notice answer sample mail at once, with what they should", "H4")
def hooks_answer(subject: Subject) -> Iterator[str]:
    _require_loaded(subject)
    for hook, function in subject.plugins.hooks_of(subject.name).items():
        yield from answers_of(hook, function)


@_case("what it registers includes the entry point's name", "H2")
def called_alike(subject: Subject) -> Iterator[str]:
    _require_loaded(subject)
    names = [*subject.registered("transports"), *subject.registered("stores")]
    if names and subject.name not in names:
        yield f"it registers {', '.join(names)}, looked for under that name: call the entry point {names[0]!r}"


@_case("nothing is registered under a name that another installed plugin has", "H2")
def no_name_is_taken(subject: Subject) -> Iterator[str]:
    _require_loaded(subject)
    for other in subject.others:
        plugins = Plugins()
        try:
            plugins.load(other)
        except PluginError:
            continue  # that one is broken, which is no fault of this one
        try:
            plugins.load(subject.name)
        except PluginError as error:
            yield str(error)


@_case("each transport refuses an unknown setting by its name", "H5")
def unknown_settings_are_refused(subject: Subject) -> Iterator[str]:
    for transport in _transports(subject):
        given = subject.settings.get(transport, {})
        error = trio.run(_opened, subject, transport, {**given, _UNKNOWN: 1})
        if error is None:
            yield f"transport {transport!r} took {_UNKNOWN!r}"
        elif not isinstance(error, ConfigError):
            yield f"transport {transport!r} raised {words_for(error)} instead of a ConfigError"
        elif _UNKNOWN not in str(error):
            if not given:
                raise NotTried(f"transport {transport!r} wants other settings first ({error}); give them in `settings`")
            yield f"transport {transport!r} does not name it: {error}"


@_case("each transport opens with the settings that were given for it, and leaves nothing behind", "H6")
def transports_leave_nothing_behind(subject: Subject) -> Iterator[str]:
    for transport in _transports(subject):
        if transport not in subject.settings:
            raise NotTried(f"needs settings for {transport!r}")
        threads = threading.active_count()
        error = trio.run(_opened, subject, transport, subject.settings[transport])
        if error is not None:
            yield f"transport {transport!r}: {words_for(error, str)}"
        elif threading.active_count() > threads + 1:  # one of trio's own may wait for more work
            yield f"transport {transport!r} left {threading.active_count() - threads} threads"


@_case("a transport that refuses its settings leaves nothing behind", "H6")
def refused_leaves_nothing_behind(subject: Subject) -> Iterator[str]:
    for transport in _transports(subject):
        error = trio.run(_opened, subject, transport, {_UNKNOWN: 1})
        if isinstance(error, _Left):
            yield f"transport {transport!r}: {error}"


@_case("each store opens with the URL that was given for it, and leaves nothing behind", "H6")
def stores_leave_nothing_behind(subject: Subject) -> Iterator[str]:
    _require_loaded(subject)
    if not (names := subject.registered("stores")):
        raise NotTried("it registers no store")
    for name in names:
        if name not in subject.stores:
            raise NotTried(f"needs `stores` for {name!r}")
        before = open_descriptors(), threading.active_count()
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                as_exceptions(),
                subject.plugins.stores[name](subject.stores[name], folder=Path(folder)) as store,
            ):
                store.tally()
        except Exception as error:
            yield f"store {name!r}: {words_for(error, str)}"
            continue
        after = open_descriptors(), threading.active_count()
        if any(now > then for now, then in zip(after, before, strict=True)):
            yield f"store {name!r} left {after[0] - before[0]} descriptors and {after[1] - before[1]} threads open"


def _transports(subject: Subject) -> list[str]:
    _require_loaded(subject)
    if not (names := subject.registered("transports")):
        raise NotTried("it registers no transport")
    return names


class _Left(Exception):
    """Something is open that was not before."""


async def _opened(subject: Subject, transport: str, settings: Mapping[str, Any]) -> Exception | None:
    """Open it and close it again; what was raised, or a _Left."""
    await trio.lowlevel.checkpoint()
    before, problem = open_things(), None
    try:
        with as_exceptions(), trio.fail_after(_OPEN_SECONDS):
            async with subject.plugins.transports[transport](settings):
                await trio.lowlevel.checkpoint()
    except Exception as error:
        problem = error
    left = await wait_closed(before)
    return _Left(left) if left else problem


@_case("importing it is quick, silent, and starts nothing", "H7")
def import_is_quick(subject: Subject) -> Iterator[str]:
    if subject.trouble:
        raise NotTried("it cannot be loaded")
    found = import_alone(subject.module)
    if found.seconds > _MOST_IMPORT_SECONDS:
        yield f"importing it takes {found.seconds:.2f} s of the processor: import what is heavy where a transport is made"
    for what, number in (("threads", found.threads), ("descriptors", found.descriptors)):
        if number > 0:
            yield f"importing it leaves {number} {what}"
    if found.said:
        yield f"importing it prints {found.said!r}"


@_case("it imports only public modules and names of Postroad", "H8")
def imports_are_public(subject: Subject) -> Iterator[str]:
    if not subject.sources:
        raise NotTried("its source is not there to read")
    for module, tree in subject.sources.items():
        for name, line in _imports(tree):
            if re.match(r"postroad(\.|$)", name) and not _is_public(name):
                yield f"{module} imports {name} in line {line}"


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((f"{alias.name}.*", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _is_public(name: str) -> bool:
    module, _, last = name.rpartition(".")
    return (name in PUBLIC_MODULES or module in PUBLIC_MODULES) and (not last.startswith("_") or last == "__version__")


@_case("each setting says what it is", "H9")
def settings_are_documented(subject: Subject) -> Iterator[str]:
    structs = list(subject.settings_structs()) if not subject.trouble else []
    if not structs:
        raise NotTried("it has no Struct whose name ends in Settings")
    for struct in structs:
        prose = f"{struct.__doc__} {sys.modules[struct.__module__].__doc__} {subject.readme}"
        for name in struct.__struct_fields__:
            if name not in described_fields(struct) and not re.search(rf"\b{name}\b", prose):
                yield f"{struct.__module__}.{struct.__name__}.{name} has no description"


@_case("its distribution has a version and requires postroad", "H10")
def metadata_is_honest(subject: Subject) -> Iterator[str]:
    distribution = subject.distribution
    if distribution is None:
        raise NotTried("it is not known from which distribution it comes")
    if not distribution.version or distribution.version == "0.0.0":
        yield f"{distribution.name} has no version"
    requires = [re.match(r"[A-Za-z0-9._-]+", each) for each in distribution.requires or ()]
    if distribution.name != "postroad" and "postroad" not in {each[0].lower() for each in requires if each}:
        yield f"{distribution.name} does not require postroad (dependencies in pyproject.toml)"
