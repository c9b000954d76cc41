"""What msgspec says about a value that does not fit, in words: the key at fault, what is allowed there, and what was found.

For the configuration, plugins' settings, and options that come as Structs.  Pure, and only called when something is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import inspect as shape

__all__ = ["bare_type", "endless_number", "misfit"]

_FIELD = re.compile(r"Object (?:contains (?P<unknown>unknown)|missing required) field `(?P<field>[^`]*)`")
_KIND = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<found>[^`]*)`")
_BOUND = re.compile(r"Expected `(?:int|float)` (?P<bound>[<>]=? \S+?)(?:\.0)?")
_LENGTH = re.compile(r"Expected `(?P<kind>[^`]*)` of length (?P<bound>[<>])= (?P<count>\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'")
_VALUE = re.compile(r"Invalid enum value (?P<found>.*)")
_STEP = re.compile(r"([^.\[\]]+)|(\[[^\]]*\])")
_WORDS = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def misfit(error: msgspec.ValidationError, raw: Any, into: type[Any]) -> tuple[str, str]:
    """The key at fault ("" for the whole) and the problem.  raw, into: what was converted, and to what."""
    problem, _, way = str(error).partition(" - at `$")
    key = way.rstrip("`").lstrip(".")
    if problem.startswith("Expected `object`"):
        key = _named(key, raw)
    if (field := _FIELD.fullmatch(problem)) is not None:
        return _joined(key, field["field"]), _odd_field(field, _at(into, key))
    return key, _in_words(problem, _at(into, key))


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _named(way: str, raw: Any) -> str:
    """The way with the name of a mapping's entry, which msgspec writes as `[...]`: the first that is no table."""
    holder, entry, _ = way.partition("[...]")
    if not entry or holder not in raw:
        return way
    tables = cast("Mapping[str, object]", raw[holder])
    return next((f"{holder}.{name}" for name, table in tables.items() if not isinstance(table, Mapping)), way)


def _odd_field(field: re.Match[str], struct: shape.Type | None) -> str:
    if not field["unknown"]:
        return "is missing"
    import difflib

    known = [each.encode_name for each in struct.fields] if isinstance(struct, shape.StructType) else []
    near = difflib.get_close_matches(field["field"], known, 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _in_words(problem: str, wanted: shape.Type | None) -> str:
    kind, value = _KIND.fullmatch(problem), _VALUE.fullmatch(problem)
    found = _WORDS.get(kind["found"], kind["found"]) if kind else value["found"] if value else ""
    if isinstance(wanted, shape.LiteralType) and found:
        return f"must be {' or '.join(_quoted(each) for each in wanted.values)}, not {found}"
    if kind:
        return f"must be {_wanted(kind['wanted'], wanted)}, not {found}"
    if bound := _BOUND.fullmatch(problem):
        return f"must be {bound['bound']}"
    if pattern := _PATTERN.fullmatch(problem):
        return f"must fit the pattern {pattern['pattern']}"
    return _length(length) if (length := _LENGTH.fullmatch(problem)) else problem


def _length(length: re.Match[str]) -> str:
    most, count = length["bound"] == "<", int(length["count"])
    if not most and count == 1:
        return "must not be empty"
    one, several = ("character", "characters") if length["kind"] == "str" else ("entry", "entries")
    return f"must have at {'most' if most else 'least'} {count} {one if count == 1 else several}"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _wanted(kinds: str, wanted: shape.Type | None) -> str:
    if isinstance(wanted, shape.VarTupleType):
        item = bare_type(wanted.item_type)
        return "a list of tables" if isinstance(item, shape.StructType) else 'a list, such as ["..."]'
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")


def _at(into: type[Any], key: str) -> shape.Type | None:
    """The type that a key's value must have; None where that cannot be told."""
    here: shape.Type | None = shape.type_info(into)
    for name, number in _STEP.findall(key):
        here = _item_of(here) if number else _field_of(here, name)
    return here


def _item_of(holder: shape.Type | None) -> shape.Type | None:
    return bare_type(holder.item_type) if isinstance(holder, shape.VarTupleType) else None


def _field_of(holder: shape.Type | None, name: str) -> shape.Type | None:
    if not isinstance(holder, shape.StructType):
        return None
    return next((bare_type(field.type) for field in holder.fields if field.encode_name == name), None)


def bare_type(info: shape.Type) -> shape.Type:
    """The type without its description, and without the None of an optional value."""
    if isinstance(info, shape.Metadata):
        return bare_type(info.type)
    if isinstance(info, shape.UnionType):
        others = [bare_type(part) for part in info.types if not isinstance(part, shape.NoneType)]
        return others[0] if len(others) == 1 else info
    return info


def endless_number(value: Any, key: str = "") -> tuple[str, str] | None:
    """The first number in a Struct that is infinite or none at all, by its key and the problem.

    A bound such as `> 0` lets infinity pass, and then something waits for ever.  Mappings are not looked into.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return key, f"must be a finite number, not {value:g}"
    return next(filter(None, (endless_number(part, way) for way, part in _parts(value, key))), None)


def _parts(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield _joined(key, name), getattr(value, name)
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(cast("Sequence[Any]", value)):
            yield f"{key}[{index}]", part
