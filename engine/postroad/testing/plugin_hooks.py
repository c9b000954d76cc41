"""Hooks under test: their annotations beside the specification's, and what they answer to sample mail."""

from __future__ import annotations

import inspect
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from .. import events, hookspecs
from ..decide.admission import Refusal
from ..message import Submission
from ..store.contract import StoreFactory
from ..strangers import as_exceptions, words_for
from ..transport import TransportFactory

__all__ = ["answers_of", "odd_annotations"]

_MOST_SECONDS = 0.05
_TRIES = 3  # a busy machine is slow now and then
_NAMES: Mapping[str, Any] = {
    "Submission": Submission,
    "Refusal": Refusal,
    "Event": events.Event,
    "TransportFactory": TransportFactory,
    "StoreFactory": StoreFactory,
    "Callable": Callable,
}


def odd_annotations(hook: str, function: Callable[..., Any]) -> Iterator[str]:
    """Annotations that have nothing in common with the specification's.  Those that cannot be resolved are left alone."""
    specified = _annotations(getattr(hookspecs, hook))
    for name, annotation in _annotations(inspect.unwrap(function)).items():
        if name in specified and not _may_be_same(annotation, specified[name]):
            yield f"{hook}: {name} is annotated {_shown(annotation)}, specified is {_shown(specified[name])}"


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    raw = dict(getattr(function, "__annotations__", {}))
    names = {**_NAMES, **getattr(function, "__globals__", {})}
    return {name: _resolved(annotation, names) for name, annotation in raw.items()}


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))  # noqa: S307  # as typing.get_type_hints does, one by one
    except Exception:
        return Any


def _may_be_same(one: Any, other: Any) -> bool:
    kinds = _kinds(one)
    return bool(kinds & {Any, object}) or bool(kinds & _kinds(other))


def _kinds(annotation: Any) -> set[Any]:
    """The classes of a union's parts, without what they are made of."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return {kind for part in typing.get_args(annotation) for kind in _kinds(part)}
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return {*annotation.__mro__} - {msgspec.Struct, object}
    return {origin or (type(None) if annotation is None else annotation)}


def _shown(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", annotation))


# --- What they answer ---


def answers_of(hook: str, function: Callable[..., Any]) -> Iterator[str]:
    """What is wrong with the answers to samples.  Those that register are asked when the plugin is loaded."""
    wanted = _WANTED.get(hook)
    if wanted is None:
        return
    asked = set(inspect.signature(function).parameters)
    for sample in _samples(hook):
        given = {name: value for name, value in sample.items() if name in asked}
        yield from dict.fromkeys(_answer_to(hook, function, given, wanted))


def _answer_to(hook: str, function: Callable[..., Any], given: Mapping[str, Any], wanted: Any) -> Iterator[str]:
    seconds: list[float] = []
    for _ in range(_TRIES):
        begun = time.perf_counter()
        try:
            with as_exceptions():
                answer = function(**given)
        except Exception as error:
            yield f"{hook} raised {words_for(error)}"
            return
        seconds.append(time.perf_counter() - begun)
        if not isinstance(answer, wanted):
            yield f"{hook} answered {words_for(answer)}"
            return
    if min(seconds) > _MOST_SECONDS:
        yield f"{hook} took {min(seconds) * 1000:.0f} ms"


_WANTED: Mapping[str, tuple[type, ...]] = {
    "postroad_admit": (Refusal, type(None)),
    "postroad_route": (str, type(None)),
    "postroad_notice": (type(None),),
}
_MAIL = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def _samples(hook: str) -> Iterator[Mapping[str, Any]]:
    match hook:
        case "postroad_admit":
            for recipients in (["b@example.org"], [f"box{n}@example.org" for n in range(100)]):
                for tags in ((), ("newsletter",)):
                    submission = Submission(sender="a@example.com", recipients=recipients, content=_MAIL, tags=tags)
                    yield {"submission": submission}
        case "postroad_route":
            for sender in ("a@example.com", ""):
                yield {"sender": sender, "recipient": "b@example.org", "tags": ()}
                yield {"sender": sender, "recipient": "jürgen@example.org", "tags": ("newsletter",)}
        case _:
            for kind in typing.get_args(events.Event):
                yield {"event": _event(kind)}


def _event(kind: type[msgspec.Struct]) -> Any:
    """One of these, with the simplest value for each field that has no default."""
    required = [each for each in msgspec.structs.fields(kind) if each.required]
    return kind(**{each.name: _simplest(each.type) for each in required})


def _simplest(wanted: Any) -> Any:
    origin = typing.get_origin(wanted) or wanted
    if origin in (typing.Union, types.UnionType):
        return None
    return {str: "x", int: 1, float: 0.0, bool: False, tuple: ()}.get(origin, "x")
