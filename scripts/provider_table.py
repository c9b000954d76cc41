"""Writes the tables of providers into docs/http.md and docs/provider-events.md from what the providers' modules declare.

Called by `make docs`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import msgspec

from postroad_http.events import SOURCES, Source
from postroad_http.provider import Provider
from postroad_http.providers import PROVIDERS
from postroad_http.settings import BatchTable, FieldTable, HttpTable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "http.md"
BEGIN, END = "<!-- providers: begin (make docs) -->\n", "<!-- providers: end -->"
HEAD = (
    "| provider | `provider` | settings of its own (required ones bold) | takes | messages a request | recipients a message | "
    "largest message | idempotent |\n|---|---|---|---|---|---|---|---|\n"
)


EVENTS_PAGE = PAGE.with_name("provider-events.md")
EVENTS_BEGIN, EVENTS_END = "<!-- sources: begin (make docs) -->\n", "<!-- sources: end -->"
EVENTS_HEAD = (
    "| provider | what proves its requests, and so is `events_secret` | how old they may be | content type |\n"
    "|---|---|---|---|\n"
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


def events_table() -> str:
    """What is believed of whom, in the order of the names."""
    return EVENTS_HEAD + "".join(_events_row(SOURCES[name]) for name in sorted(SOURCES))


def _events_row(source: Source) -> str:
    window = source.window_seconds
    cells = (
        f"[{source.title}]({source.documentation})",
        source.proof,
        "any age" if window is None else f"{window / 3600:g} hours" if window >= 3600 else f"{window / 60:g} minutes",
        "form" if source.is_form else "JSON",
    )
    return f"| {' | '.join(cells)} |\n"


def render(page: str) -> str:
    """The page with the table of today."""
    return _between(BEGIN, END, table(), page)


def render_events(page: str) -> str:
    """As `render`, for the page on events."""
    return _between(EVENTS_BEGIN, EVENTS_END, events_table(), page)


def _between(begin: str, end: str, text: str, page: str) -> str:
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + text + end, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    EVENTS_PAGE.write_text(render_events(EVENTS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
