"""Writes the pages about the plug-in contract that are made from the code (`make docs`); a test compares them.

docs/duties.md: every duty, from where it is written, with the cases of the kit that try it.  docs/transports.md: what each
transport that comes with Postroad declares, asked of the transport itself.  docs/plugins.md: the files of the examples.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from postroad.plugins import Plugins, available
from postroad.testing import plugin_cases
from postroad.testing.duties import plugin_duties, transport_duties
from postroad.testing.transport_suite import CASES
from postroad.transport import Capabilities

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"(<!-- file: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

# How each is opened: nothing is connected.  A transport whose capabilities depend on its settings has several rows.
WAYS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "appengine": {"": {"url": "http://127.0.0.1:8080"}},
    "smtp": {"to a smarthost": {"smarthost": "127.0.0.1:2525"}, "by MX": {}},
    "file": {"": {"folder": "mail"}},
    "http": {
        "to Amazon SES": {"provider": "ses", "region": "eu-west-1", "access_key_id": "AKIAEXAMPLE", "api_key": "a-key"},
        "to Mailgun": {"provider": "mailgun", "domain": "example.com", "api_key": "a-key"},
        "to SendGrid": {"provider": "sendgrid", "api_key": "a-key"},
        "to Postmark": {"provider": "postmark", "api_key": "a-key"},
        "to Mailjet": {"provider": "mailjet", "public_key": "key", "api_key": "a-key"},
        "to Resend": {"provider": "resend", "api_key": "a-key"},
        "to Brevo": {"provider": "brevo", "api_key": "a-key"},
        "to SparkPost": {"provider": "sparkpost", "api_key": "a-key"},
        "to MailerSend": {"provider": "mailersend", "api_key": "a-key"},
        "to Mandrill": {"provider": "mandrill", "api_key": "a-key"},
    },
}

MATRIX = """\
# What the transports can do

Made from the transports themselves (`make docs`): each is opened, and says its `capabilities`. Routing goes by `by_domain` and
`recipients_per_call`. What no transport of a route can carry, by `message_bytes`, `eight_bit` and `smtputf8`, is refused at the
door; a transport refuses it, too, and `check_transport` holds it to that. A plugin of your own declares its own:
[plugins.md](plugins.md).

{table}

{meanings}
"""
DUTIES = """\
# Duties

Made from the code (`make docs`). The duties of a transport stand in the docstring of `postroad.transport.Transport`, those of a
plugin in `postroad.hookspecs.PLUGIN_DUTIES`; a store's stand in `postroad.store.contract`, and each case of `check_store` says
its own. A report names the case that failed, what was expected, and the duty. How to run them: [plugins.md](plugins.md#the-kit).

## A transport's

{transport}

## A plugin's

{plugin}
"""


def duties_page() -> str:
    """The page of today."""
    return DUTIES.format(
        transport="\n\n".join(_duties(transport_duties(), [(each.duty, each.name, each.expected) for each in CASES])),
        plugin="\n\n".join(
            _duties(plugin_duties(), [(each.duty, each.name, each.expected) for each in plugin_cases.CASES])
        ),
    )


def _duties(duties: Mapping[str, str], cases: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for number, prose in duties.items():
        title, _, text = prose.partition(": ")
        tried = "\n".join(f"| `{name}` | {expected} |" for duty, name, expected in cases if duty == number)
        said = textwrap.fill(" ".join(f"**{number} {title}:** {text}".split()), 130)
        yield f"{said}\n\n| case | expects |\n|---|---|\n{tried}"


# --- Capabilities ---


def transports_page() -> str:
    """The page of today.  Raises KeyError for a transport that nobody said how to open."""
    rows = list(_rows())
    fields = Capabilities.__struct_fields__
    head = ["transport", *(f"`{field}`" for field in fields)]
    return MATRIX.format(
        table=_table(head, [[name, *(_shown(getattr(able, field)) for field in fields)] for name, able in rows]),
        meanings=_meanings(),
    )


def _rows() -> Iterator[tuple[str, Capabilities]]:
    for plugin in sorted(name for name, point in available().items() if point.dist and point.dist.name == "postroad"):
        plugins = Plugins()
        plugins.load(plugin)
        for transport in plugins.transports:
            if transport not in WAYS:
                raise KeyError(f"say in {Path(__file__).name} how the transport {transport!r} is opened")
            for way, settings in WAYS[transport].items():
                yield f"`{transport}` {way}".strip(), trio.run(_capabilities, plugins, transport, settings)


async def _capabilities(plugins: Plugins, transport: str, settings: Mapping[str, Any]) -> Capabilities:
    async with plugins.transports[transport](settings) as opened:
        return opened.capabilities


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "no limit"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _meanings() -> str:
    """The docstring's paragraph on each capability."""
    _, _, prose = (Capabilities.__doc__ or "").partition("\n\n")
    items = (" ".join(each.split()) for each in re.split(r"\n    (?=\w[\w, ]*: )", f"\n{prose}"))
    return "\n".join(textwrap.fill(f"- {item}", 130, subsequent_indent="  ") for item in items if item)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


# --- Files of the examples ---


def with_files(page: str) -> str:
    """The page with each file that it names as it is today."""
    return BLOCK.sub(lambda found: f"{found[1]}{_shown_file(ROOT / found[2])}\n{found[3]}", page)


def _shown_file(path: Path) -> str:
    language = {".py": "python", ".toml": "toml"}[path.suffix]
    return f"```{language}\n{path.read_text(encoding='utf-8')}```"


def main() -> int:
    plugins = DOCS / "plugins.md"
    plugins.write_text(with_files(plugins.read_text(encoding="utf-8")), encoding="utf-8")
    (DOCS / "duties.md").write_text(duties_page(), encoding="utf-8")
    (DOCS / "transports.md").write_text(transports_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
