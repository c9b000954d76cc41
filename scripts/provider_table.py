"""Writes the table of providers into docs/http.md from what the providers' modules declare.  Called by `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import msgspec

from postroad_http.provider import Provider
from postroad_http.providers import PROVIDERS
from postroad_http.settings import BatchTable, FieldTable, HttpTable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "http.md"
BEGIN, END = "<!-- providers: begin (make docs) -->\n", "<!-- providers: end -->"
HEAD = (
    "| provider | `provider` | settings of its own (required ones bold) | takes | messages a request | recipients a message | "
    "largest message | idempotent |\n|---|---|---|---|---|---|---|---|\n"
)


def table() -> str:
    """The table, in the order of the names."""
    return HEAD + "".join(_row(PROVIDERS[name]) for name in sorted(PROVIDERS))


def _row(provider: Provider) -> str:
    able = provider.able
    cells = (
        f"[{provider.title}]({provider.documentation})",
        f"`{provider.name}`",
        ", ".join(_own_settings(provider.settings)) or "none",
        "the message" if able.raw else "fields",
        _messages(provider.settings),
        str(able.recipients_per_call),
        f"{able.message_bytes / 1e6:g} MB",
        "24 hours" if able.idempotent else "no",
    )
    return f"| {' | '.join(cells)} |\n"


def _messages(settings: type[HttpTable]) -> str:
    """The default of `batch`, and its bound where that is another."""
    field = next((each for each in msgspec.structs.fields(settings) if each.name == "batch"), None)
    if field is None:
        return "1"
    most = next(part.le for part in get_args(field.type) if isinstance(part, msgspec.Meta))
    return str(most) if field.default == most else f"{field.default}, `batch` up to {most}"


def _own_settings(settings: type[HttpTable]) -> list[str]:
    shared = set(BatchTable.__struct_fields__) | set(FieldTable.__struct_fields__) | set(HttpTable.__struct_fields__)
    found: list[str] = []
    for field in msgspec.structs.fields(settings):
        if field.name not in shared:
            values = [value for part in get_args(field.type) for value in get_args(part) if isinstance(value, str)]
            said = f"`{field.name}`" + (f" ({', '.join(values)})" if values else "")
            found.append(f"**{said}**" if field.required else said)
    return found


def render(page: str) -> str:
    """The page with the table of today."""
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: BEGIN + table() + END, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
