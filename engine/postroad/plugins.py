"""Finds plugins, loads them one by one, and keeps what they register.  One PluginManager per engine, never a global.

Only plugins that the configuration names (by a transport's `plugin`, the spool's scheme, or `plugins`) are loaded, so a
broken one is named and harms nobody who does not use it.  pluggy's own loader would raise for all.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from . import hookspecs
from .config import Config
from .decide.admission import Refusal
from .errors import ConfigError, PluginError
from .events import Event
from .log import get_logger
from .message import Submission
from .store.contract import StoreFactory
from .store.memory import memory_store
from .store.sqlite import sqlite_store
from .strangers import as_exceptions, words_for
from .transport import TransportFactory

__all__ = ["ENTRY_POINT_GROUP", "Plugins", "available"]

ENTRY_POINT_GROUP = "postroad"
_SLOW_HOOK_SECONDS = 0.05

_log = get_logger()


def available() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Every installed plugin by entry-point name, without loading any."""
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


class Plugins:
    """The plugins of one engine.

    Load with `load(name)` (from its entry point) or `register(plugin, name)` (an object at hand, as tests do).
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("postroad")
        self._manager.add_hookspecs(hookspecs)
        self.transports: dict[str, TransportFactory] = {}
        self.stores: dict[str, StoreFactory] = {"memory": memory_store, "sqlite": sqlite_store}

    def load(self, name: str) -> None:
        """Load the plugin of that entry-point name; raise PluginError that names it if it is missing or broken."""
        if self._manager.has_plugin(name):
            return
        points = available()
        if name not in points:
            known = ", ".join(sorted(points)) or "none"
            raise PluginError(f"there is no plugin {name!r} in the entry-point group 'postroad' (installed: {known})")
        try:
            with as_exceptions():
                plugin = points[name].load()
        except Exception as error:
            raise PluginError(f"plugin {name!r} ({points[name].value}) cannot be loaded: {words_for(error)}") from error
        self.register(plugin, name)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin object and let it register its transports and stores."""
        if self._manager.has_plugin(name):
            raise PluginError(f"there is already a plugin {name!r}; give this one another name")
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            self._check_implementations(plugin, name)
            self._collect(plugin, name)
        except PluginError:
            self._manager.unregister(plugin)
            raise
        except Exception as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise PluginError(f"plugin {name!r} does not fit the contract: {words_for(error, _ends_of)}") from error

    def hooks_of(self, name: str) -> Mapping[str, Callable[..., Any]]:
        """What a plugin that was loaded implements, by the hook's name."""
        plugin = self._manager.get_plugin(name)
        return {
            caller.name: found.function
            for caller in (self._manager.get_hookcallers(plugin) or () if plugin is not None else ())
            for found in caller.get_hookimpls()
            if found.plugin is plugin
        }

    def _check_implementations(self, plugin: object, name: str) -> None:
        """pluggy would take an un-awaited coroutine for an answer; wrappers would come between a hook and its caller."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            for found in caller.get_hookimpls():
                if found.plugin is not plugin:
                    continue
                function = inspect.unwrap(found.function)
                what = f"plugin {name!r}: {found.function.__name__}"
                if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                    raise PluginError(f"{what} is a coroutine function; hooks are synchronous")
                if found.wrapper or found.hookwrapper:
                    raise PluginError(f"{what} is a hook wrapper; Postroad's hooks have none")

    def _collect(self, plugin: object, name: str) -> None:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        hooks = self._manager
        for hook_name, kept, what in (
            ("postroad_register_transports", self.transports, "transport"),
            ("postroad_register_stores", self.stores, "store"),
        ):
            try:
                with as_exceptions():
                    hooks.subset_hook_caller(hook_name, others)(register=_registrar(kept, name, what))
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(f"plugin {name!r} failed in {hook_name}: {words_for(error)}") from error

    def load_for(self, config: Config) -> None:
        """Load what a configuration needs."""
        for name in config.plugins:
            self.load(name)
        for name, settings in config.transports.items():
            kind = str(settings["plugin"])
            self._load_kind(kind, self.transports, f"transports.{name}.plugin", "transport")
        self._load_kind(config.spool.url.partition(":")[0], self.stores, "spool.url", "store")

    def _load_kind(self, kind: str, kept: Mapping[str, object], key: str, what: str) -> None:
        if kind in kept:
            return
        before = set(kept)
        try:
            self.load(kind)
        except PluginError as error:
            raise ConfigError(key, str(error)) from error
        if kind not in kept:
            others = ", ".join(sorted(kept.keys() - before))
            but = f", but {others}" if others else ""
            raise ConfigError(
                key, f"plugin {kind!r} registers no {what} {kind!r}{but}; `postroad plugin check {kind}` says more"
            )

    def admit(self, submission: Submission) -> Refusal | None:
        """Ask every plugin's door; one that raises refuses the submission and is named."""
        for plugin, function in self._implementations("postroad_admit"):
            try:
                refusal = _timed(plugin, "postroad_admit", function, submission=submission)
            except Exception as error:
                _log.exception("hook_failed", plugin=plugin, hook="postroad_admit")
                return Refusal(
                    field="submission", problem=f"plugin {plugin!r} failed while it looked at it: {words_for(error)}"
                )
            if refusal is not None:
                if isinstance(refusal, Refusal):
                    return refusal
                return Refusal(
                    field="submission", problem=f"plugin {plugin!r} answered {words_for(refusal)} instead of a Refusal"
                )
        return None

    @property
    def admits(self) -> bool:
        """Whether any plugin wants to see submissions at the door."""
        return bool(self._manager.hook.postroad_admit.get_hookimpls())

    @property
    def routes(self) -> Callable[[str, str, tuple[str, ...]], str | None] | None:
        """The plugins' routing, or None where no plugin routes.  A failing one is logged and asked no further."""
        if not self._manager.hook.postroad_route.get_hookimpls():
            return None
        return self._route

    def _route(self, sender: str, recipient: str, tags: tuple[str, ...]) -> str | None:
        for plugin, function in self._implementations("postroad_route"):
            try:
                named = _timed(plugin, "postroad_route", function, sender=sender, recipient=recipient, tags=tags)
            except Exception:
                _log.exception("hook_failed", plugin=plugin, hook="postroad_route")
                continue
            if isinstance(named, str):
                return named
            if named is not None:
                _log.error("hook_failed", plugin=plugin, hook="postroad_route", answered=words_for(named))
        return None

    @property
    def notices(self) -> bool:
        """Whether any plugin wants to be told of events."""
        return bool(self._manager.hook.postroad_notice.get_hookimpls())

    def notice(self, event: Event) -> None:
        """Tell every plugin; exceptions are logged and change nothing."""
        for plugin, function in self._implementations("postroad_notice"):
            try:
                _timed(plugin, "postroad_notice", function, event=event)
            except Exception:
                _log.exception("hook_failed", plugin=plugin, hook="postroad_notice")

    def _implementations(self, hook: str) -> Iterable[tuple[str, Callable[..., Any]]]:
        """Implementations with only the arguments they ask for, in pluggy's order (last registered first)."""
        for found in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            wanted = found.argnames

            def call(
                _function: Callable[..., Any] = found.function, _wanted: tuple[str, ...] = wanted, **given: Any
            ) -> Any:
                return _function(**{name: given[name] for name in _wanted})

            yield found.plugin_name, call


def _ends_of(error: Exception) -> str:
    """pluggy says between the first line, which hook, and the last, what is wrong, how all of it was written."""
    lines = str(error).splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"


def _registrar(kept: dict[str, Any], plugin: str, what: str) -> Callable[[str, Any], None]:
    def register(name: str, factory: Any) -> None:
        if name in kept:
            raise PluginError(
                f"plugin {plugin!r} registers the {what} {name!r}, which another plugin registered before"
            )
        if not callable(factory):
            raise PluginError(f"plugin {plugin!r} registers {what} {name!r} with something that cannot be called")
        kept[name] = factory

    return register


def _timed(plugin: str, hook: str, call: Callable[..., Any], **given: Any) -> Any:
    begun = time.perf_counter()
    try:
        with as_exceptions():
            return call(**given)
    finally:
        seconds = time.perf_counter() - begun
        if seconds > _SLOW_HOOK_SECONDS:
            _log.warning("hook_slow", plugin=plugin, hook=hook, seconds=round(seconds, 3))
