"""Writes docs/configuration.md from the settings themselves: `python -m postroad.configdoc`, `--check FILE` compares.

Every table is made from the msgspec Structs in `config.py`, and from each public Struct called `...Settings` in the plugins that
come with Postroad, found through their entry points.  Nothing here decides or validates.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec
from msgspec import inspect as shape

from .config import Config
from .misfits import bare_type

__all__ = ["main", "plugin_settings", "render"]

_PREFACE = """\
# Configuration

<!-- Made from the code by `make docs`; a change here is lost. -->

A configuration is a TOML file or a `postroad.Config` of the same shape; `docs/postroad.toml` is an example with every
setting. An unknown key, a value out of range or two settings that contradict each other stop the start with a
`ConfigError` that names the key. Times are seconds and sizes octets, always. Relative paths count from the configuration
file's folder; of settings given in Python, from the working directory.
"""

_TRANSPORTS = """
## [transports.NAME]: how mail leaves

One table for each transport that routes name. `plugin` says which kind it is; all other keys belong to that plugin, which
checks them at the start.
"""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_Fields = tuple[shape.Field, ...]


def render() -> str:
    """The whole page."""
    pages = [_PREFACE, *_sections(), _TRANSPORTS, *_plugins()]
    return "\n".join(page.strip("\n") + "\n" for page in pages)


def _sections() -> Iterator[str]:
    """The top-level keys first, as TOML wants them, then a table per section."""
    fields = _fields_of(Config)
    plain = tuple(field for field in fields if _section_of(field) is None and _described(field))
    yield "## At the top of the file\n\n" + _table(plain)
    for field in fields:
        section = _section_of(field)
        if section is not None:
            yield _heading(section) + _table(_fields_of(section))


def _plugins() -> Iterator[str]:
    for kind, settings in plugin_settings():
        said, keys = _docstring_of(settings)
        yield f'### plugin = "{kind}"\n\n{said}\n\n' + _table(_fields_of(settings), keys)


def _docstring_of(settings: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """A docstring's own text, and what its lines "key: text" say about fields without a description."""
    said, keys, name = list[str](), dict[str, str](), ""
    for line in (inspect.getdoc(settings) or "").splitlines():
        key, colon, text = line.partition(": ")
        if colon and key in settings.__struct_fields__:
            name, keys[key] = key, text
        elif name and line.strip():
            keys[name] += " " + line.strip()
        elif not name:
            said.append(line)
    return "\n".join(said).strip(), keys


def plugin_settings() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Each plugin of this distribution by its entry point's name, with the Structs of its settings."""
    own = (
        point for point in entry_points(group="postroad") if point.dist is not None and point.dist.name == "postroad"
    )
    for point in sorted(own, key=lambda point: point.name):
        for settings in _settings_in(point):
            yield point.name, settings


def _settings_in(point: EntryPoint) -> list[type[msgspec.Struct]]:
    package = importlib.import_module(point.module)
    found = {settings for module in _modules(package) for settings in _public_settings(module)}
    return sorted(found, key=lambda settings: settings.__name__)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.iter_modules(getattr(package, "__path__", ()), package.__name__ + "."):
        yield importlib.import_module(found.name)


def _public_settings(module: ModuleType) -> Iterator[type[msgspec.Struct]]:
    for name, value in vars(module).items():
        is_struct = isinstance(value, type) and issubclass(value, msgspec.Struct)
        if is_struct and name.endswith("Settings") and not name.startswith("_") and value.__module__ == module.__name__:
            yield value


def _fields_of(struct: type[msgspec.Struct]) -> _Fields:
    info = shape.type_info(struct)
    assert isinstance(info, shape.StructType)
    return info.fields


def _section_of(field: shape.Field) -> type[msgspec.Struct] | None:
    """The Struct that a key of Config holds, once or in an array of tables."""
    info = bare_type(field.type)
    if isinstance(info, shape.VarTupleType):
        info = bare_type(info.item_type)
    return info.cls if isinstance(info, shape.StructType) else None


def _described(field: shape.Field) -> str:
    info = field.type
    if not isinstance(info, shape.Metadata):
        return ""
    schema = cast("dict[str, Any]", info.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
    return str(schema.get("description", ""))


def _heading(section: type[msgspec.Struct]) -> str:
    """The docstring begins with the section as TOML writes it: "[spool]: where accepted mail is kept."."""
    first, *rest = re.split(r"\.\s+", inspect.getdoc(section) or section.__name__, maxsplit=1)
    return f"## {first.rstrip('.')}\n\n" + "".join(f"{text}\n\n" for text in rest)


def _table(fields: Iterable[shape.Field], otherwise: Mapping[str, str] | None = None) -> str:
    rows = ["| key | kind | default | what and why |", "|---|---|---|---|"]
    rows += [_row(field, _about(field) or (otherwise or {}).get(field.name, "")) for field in fields]
    return "\n".join(rows) + "\n"


def _row(field: shape.Field, about: str) -> str:
    cells = (f"`{field.encode_name}`", _kind(field), _default(field), about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _about(field: shape.Field) -> str:
    """The description; a leading "Seconds." or "Octets." stands in the column of kinds already."""
    text = " ".join(_described(field).split())
    for unit in ("Seconds. ", "Octets. "):
        text = text.removeprefix(unit)
    return text


def _unit(name: str) -> str:
    if name.endswith("_seconds"):
        return "seconds"
    return "octets" if name.endswith("bytes") else ""


def _kind(field: shape.Field) -> str:
    info = bare_type(field.type)
    return ", ".join(filter(None, (_unit(field.name) or _type_name(info), _bounds(info))))


def _type_name(info: shape.Type) -> str:
    match info:
        case shape.BoolType():
            return "true or false"
        case shape.IntType():
            return "integer"
        case shape.FloatType():
            return "number"
        case shape.StrType() | shape.CustomType():
            return "string"
        case shape.LiteralType(values=values):
            return " or ".join(f"`{_toml(value)}`" for value in values)
        case shape.VarTupleType(item_type=item) | shape.ListType(item_type=item) | shape.SetType(item_type=item):
            return f"list of {_type_name(bare_type(item))}s"
        case shape.StructType() | shape.DictType():
            return "table"
        case shape.UnionType(types=types):
            return " or ".join(_type_name(bare_type(part)) for part in types)
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _bounds(info: shape.Type) -> str:
    if not isinstance(info, shape.IntType | shape.FloatType):
        return ""
    signs = (("≥", info.ge), (">", info.gt), ("≤", info.le), ("<", info.lt))
    return ", ".join(
        f"{sign} {value:g}" if abs(value) < 1e6 else f"{sign} {value}" for sign, value in signs if value is not None
    )


def _default(field: shape.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None or isinstance(value, msgspec.Struct):
        return "none"
    return f"`{_toml(value)}`{_in_words(field.name, value)}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case float():
            return f"{value:.10g}"
        case tuple() | list():
            return f"[{', '.join(map(_toml, cast('tuple[Any, ...]', value)))}]"
        case dict():
            return "{}"
        case _:
            return str(value)


def _in_words(name: str, value: Any) -> str:
    if _unit(name) == "seconds":
        for size, word in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
            if value >= size and value % size == 0:
                return f" ({value / size:g} {word}{'' if value == size else 's'})"
    if _unit(name) == "octets":
        for size, word in ((10**9, "GB"), (10**6, "MB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value * 2 % size == 0:
                return f" ({value / size:g} {word})"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Write the page to standard output, or compare it with a file: 1 when they differ."""
    page = render()
    if not arguments:
        sys.stdout.write(page)
        return 0
    if len(arguments) != 2 or arguments[0] != "--check":
        sys.stderr.write("usage: python -m postroad.configdoc [--check FILE]\n")
        return 2
    if Path(arguments[1]).read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{arguments[1]} is not what the settings say; run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
