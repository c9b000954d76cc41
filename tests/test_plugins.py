"""Plugins: found by name, named when they are missing or broken, harmless to those who do not use them."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from postroad import plugins as module
from postroad.config import load_config
from postroad.decide.admission import Refusal
from postroad.errors import ConfigError, PluginError
from postroad.events import LaneResumed
from postroad.hookspecs import hookimpl
from postroad.message import Submission
from postroad.plugins import Plugins, available

SUBMISSION = Submission(sender="a@example.com", recipients=["b@example.org"], content=b"x")
EVENT = LaneResumed(at=0.0, lane="out")


@asynccontextmanager
async def factory(settings):
    yield object()


def plugin_of(**hooks):
    """A plugin object with these hook implementations."""
    return type("Made", (), {name: staticmethod(hookimpl(function)) for name, function in hooks.items()})()


def transports(*names, of=factory):
    return plugin_of(postroad_register_transports=lambda register: [register(name, of) for name in names] and None)


@pytest.fixture
def installed(monkeypatch):
    """Entry points by name: a module's source, or a plugin object."""

    def install(**found):
        points = []
        for name, plugin in found.items():
            path = f"postroad_test_{name}"
            if plugin is not None:
                made = types.ModuleType(path)
                made.plugin = plugin
                monkeypatch.setitem(sys.modules, path, made)
            points.append(importlib.metadata.EntryPoint(name, f"{path}:plugin", "postroad"))
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == "postroad" else [])

    return install


def test_our_own_plugins_are_found_like_a_strangers():
    assert {"smtp", "file"} <= set(available())


def test_a_plugin_is_loaded_by_its_entry_points_name(installed):
    installed(good=transports("good"), other=transports("other"))
    plugins = Plugins()
    plugins.load("good")
    plugins.load("good")
    assert set(plugins.transports) == {"good"}


def test_a_missing_plugin_is_named_with_those_installed(installed):
    installed(good=transports("good"))
    with pytest.raises(PluginError, match=r"no plugin 'absent'.*installed: good"):
        Plugins().load("absent")
    installed()
    with pytest.raises(PluginError, match="installed: none"):
        Plugins().load("absent")


def test_a_plugin_that_registers_another_name_is_told_by_both(installed):
    installed(good=transports("better", "best"))
    config = load_config({"spool": {"url": "memory:"}, "transports": {"x": {"plugin": "good"}}})
    with pytest.raises(
        ConfigError,
        match=r"plugin 'good' registers no transport 'good', but best, better; `postroad plugin check good`",
    ):
        Plugins().load_for(config)
    installed(good=plugin_of())
    with pytest.raises(ConfigError, match=r"registers no transport 'good'; `postroad plugin check good` says more"):
        Plugins().load_for(config)


def test_a_broken_plugin_is_named_and_the_others_work(installed):
    installed(broken=None, good=transports("good"))
    plugins = Plugins()
    with pytest.raises(PluginError, match=r"'broken' \(postroad_test_broken:plugin\) cannot be loaded.*ModuleNotFound"):
        plugins.load("broken")
    plugins.load("good")
    assert set(plugins.transports) == {"good"}


def test_only_what_the_configuration_names_is_loaded(installed):
    installed(broken=None, good=transports("good"))
    plugins = Plugins()
    plugins.load_for(load_config({"spool": {"url": "memory:"}, "transports": {"x": {"plugin": "good"}}}))
    assert set(plugins.transports) == {"good"}


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"transports": {"x": {"plugin": "absent"}}}, "transports.x.plugin"),
        ({"transports": {"x": {"plugin": "broken"}}}, "transports.x.plugin"),
        ({"transports": {"x": {"plugin": "useless"}}}, "transports.x.plugin"),
        ({"transports": {"x": {"plugin": "storage"}}}, "transports.x.plugin"),
        ({"spool": {"url": "absent:x"}}, "spool.url"),
        ({"spool": {"url": "good:x"}}, "spool.url"),
    ],
)
def test_the_setting_that_needs_what_is_not_there_is_named(installed, raw, key):
    storage = plugin_of(postroad_register_stores=lambda register: register("storage", factory))
    installed(broken=None, useless=plugin_of(), storage=storage, good=transports("good"))
    with pytest.raises(ConfigError) as caught:
        Plugins().load_for(load_config({"spool": {"url": "memory:"}, **raw}))
    assert caught.value.key == key


def test_further_plugins_of_the_configuration_are_loaded(installed):
    installed(watcher=plugin_of(postroad_notice=lambda event: None))
    plugins = Plugins()
    plugins.load_for(load_config({"spool": {"url": "memory:"}, "plugins": ["watcher"]}))
    assert plugins.notices


async def _coroutine(submission):
    return None


async def _async_generator(submission):
    yield None


@pytest.mark.parametrize("hook", [_coroutine, _async_generator])
def test_coroutine_hooks_are_refused(hook):
    plugins = Plugins()
    with pytest.raises(PluginError, match=r"'lazy'.*hooks are synchronous"):
        plugins.register(plugin_of(postroad_admit=hook), "lazy")
    assert not plugins.admits


def test_a_coroutine_hook_under_another_name_is_refused_too():
    class Sly:
        @hookimpl(specname="postroad_admit")
        async def look(self, submission):
            return None

    with pytest.raises(PluginError, match="'sly': look is a coroutine function"):
        Plugins().register(Sly(), "sly")


def test_hook_wrappers_are_refused():
    class Wrapping:
        @hookimpl(wrapper=True)
        def postroad_admit(self, submission):
            return (yield)

    plugins = Plugins()
    with pytest.raises(PluginError, match=r"'wrapping'.*wrapper"):
        plugins.register(Wrapping(), "wrapping")
    assert not plugins.admits


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (
            {"postroad_admit": lambda submission, mood: None},
            "'postroad_admit': .*'mood'.* can not be found in the hookspec$",
        ),
        ({"postroad_admti": lambda submission: None}, "postroad_admti"),
        ({"postroad_register_transports": lambda register: 1 / 0}, "ZeroDivisionError"),
        ({"postroad_register_transports": lambda register: register("x", 7)}, "cannot be called"),
        ({"postroad_register_stores": lambda register: register("sqlite", factory)}, "'sqlite'"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_named_and_leaves_nothing_behind(hooks, said):
    plugins = Plugins()
    with pytest.raises(PluginError, match=rf"(?s)'odd'.*{said}"):
        plugins.register(plugin_of(**hooks), "odd")
    plugins.register(transports("good"), "good")
    assert set(plugins.transports) == {"good"}
    assert not plugins.admits


def test_two_plugins_cannot_register_the_same_transport():
    plugins = Plugins()
    plugins.register(transports("smtp"), "first")
    with pytest.raises(PluginError, match="'second' registers the transport 'smtp'"):
        plugins.register(transports("smtp"), "second")


def test_two_plugins_cannot_have_the_same_name():
    plugins = Plugins()
    plugins.register(transports("a"), "twin")
    with pytest.raises(PluginError, match="already a plugin 'twin'"):
        plugins.register(transports("b"), "twin")
    assert set(plugins.transports) == {"a"}


def test_each_engine_has_plugins_of_its_own():
    Plugins().register(plugin_of(postroad_admit=lambda submission: None), "first")
    assert not Plugins().admits


# --- hooks at work ---


def registered(**plugins_by_name):
    plugins = Plugins()
    for name, hooks in plugins_by_name.items():
        plugins.register(plugin_of(**hooks), name)
    return plugins


def refuse(field):
    return {"postroad_admit": lambda submission: Refusal(field=field, problem="no")}


def test_the_first_refusal_counts_and_silence_admits():
    assert not Plugins().admits
    plugins = registered(silent={"postroad_admit": lambda: None}, first=refuse("a"), last=refuse("b"))
    assert plugins.admits
    assert plugins.admit(SUBMISSION) == Refusal(field="b", problem="no")  # pluggy: last registered, first asked
    assert registered(silent={"postroad_admit": lambda submission: None}).admit(SUBMISSION) is None


def test_a_door_hook_that_raises_refuses_and_is_named():
    with capture_logs() as logs:
        refusal = registered(grumpy={"postroad_admit": lambda submission: 1 / 0}).admit(SUBMISSION)
    assert refusal is not None
    assert "'grumpy'" in refusal.problem
    assert "ZeroDivisionError" in refusal.problem
    assert [(log["event"], log["plugin"]) for log in logs] == [("hook_failed", "grumpy")]


def test_a_door_hook_that_answers_nonsense_refuses_and_is_named():
    refusal = registered(odd={"postroad_admit": lambda submission: "nope"}).admit(SUBMISSION)
    assert refusal is not None
    assert "'odd' answered 'nope'" in refusal.problem


def test_the_first_route_named_counts_and_a_failing_plugin_is_passed_over():
    assert Plugins().routes is None
    plugins = registered(
        good={"postroad_route": lambda recipient: "relay" if recipient == "b@example.org" else None},
        odd={"postroad_route": lambda tags: 7},
        bad={"postroad_route": lambda sender: 1 / 0},
    )
    assert plugins.routes is not None
    with capture_logs() as logs:
        assert plugins.routes("a@example.com", "b@example.org", ()) == "relay"
        assert plugins.routes("a@example.com", "c@example.org", ()) is None
    assert {log["plugin"] for log in logs} == {"odd", "bad"}


def test_notices_reach_every_plugin_whatever_one_of_them_does():
    told = []
    plugins = Plugins()
    plugins.register(plugin_of(postroad_notice=lambda event: told.append(("one", event))), "one")
    plugins.register(plugin_of(postroad_notice=lambda event: 1 / 0), "bad")
    plugins.register(plugin_of(postroad_notice=lambda event: told.append(("two", event))), "two")
    assert plugins.notices
    with capture_logs() as logs:
        plugins.notice(EVENT)
    assert sorted(told) == [("one", EVENT), ("two", EVENT)]
    assert [(log["event"], log["plugin"], log["hook"]) for log in logs] == [("hook_failed", "bad", "postroad_notice")]


def test_a_slow_hook_is_logged_with_its_name(monkeypatch):
    times = iter([0.0, 0.051, 1.0, 1.049])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    plugins = registered(slow={"postroad_admit": lambda submission: None})
    with capture_logs() as logs:
        plugins.admit(SUBMISSION)
        plugins.admit(SUBMISSION)
    assert [(log["event"], log["plugin"], log["hook"]) for log in logs] == [("hook_slow", "slow", "postroad_admit")]
