"""Pictures of a run of the suite, as PNG and SVG beside its JSON: throughput, scenarios, latency and CPU.

    python benchmarks/plots.py results.json

Runs where matplotlib is installed (`requirements/bench-plots.txt`), which nothing else needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["bars_of", "draw_all", "plain"]

Told = Mapping[str, Any]
Bar = tuple[str, float, float, float, str]  # name, least, median, most, level

# Colours that the usual kinds of colour blindness tell apart (Okabe and Ito).
COLOURS = {"synced": "#0072B2", "not synced": "#E69F00", "no queue": "#999999"}
_MEANING = {
    "synced": "synced to disk before it is accepted",
    "not synced": "a queue that is not synced",
    "no queue": "no queue: nothing survives a crash",
}
_MAIN = "api"


def bars_of(scenario: Told, figure: str) -> list[Bar]:
    """One bar for each system of a scenario that has the figure, the least first."""
    bars = [
        (name, told[figure]["least"], told[figure]["median"], told[figure]["most"], told["level"])
        for name, told in scenario["summary"].items()
        if told.get(figure)
    ]
    return sorted(bars, key=lambda bar: bar[2])


def bars_by_scenario(told: Told) -> list[Bar]:
    """The subject of each scenario in multiples of Postfix."""
    bars: list[Bar] = []
    for name, scenario in told["scenarios"].items():
        subject = scenario["summary"].get(scenario.get("subject", ""), {})
        if ratio := subject.get("postfix_ratio"):
            bars.append((name, ratio["least"], ratio["median"], ratio["most"], subject["level"]))
    return bars[::-1]


def draw_all(told: Told, folder: Path) -> list[str]:
    """Draw what there are figures for; the names of the pictures."""
    main = told["scenarios"].get(_MAIN, {"summary": {}})
    about = "10 KiB messages over SMTP; medians, least to most"
    rates, costs = bars_of(main, "postfix_ratio"), bars_of(main, "cpu_ms")[::-1]  # the best on top
    pictures: dict[str, Callable[[], bool]] = {
        "throughput": lambda: _bars(folder, "throughput", "Throughput", f"times Postfix ({about})", rates),
        "scenarios": lambda: _bars(
            folder,
            "scenarios",
            "Postroad in each scenario",
            "times Postfix (medians, least to most)",
            bars_by_scenario(told),
        ),
        "latency": lambda: _latency(folder, main),
        "cpu": lambda: _bars(folder, "cpu", "CPU per message", f"ms ({about})", costs),
    }
    return [name for name, draw in pictures.items() if draw()]


def _bars(folder: Path, name: str, title: str, unit: str, bars: list[Bar]) -> bool:
    if not bars:
        return False
    figure, axes = _canvas(len(bars), title, unit)
    for row, (_, least, median, most, level) in enumerate(bars):
        whiskers = [[median - least], [most - median]]
        axes.barh(row, median, color=COLOURS[level], xerr=whiskers, capsize=3, ecolor="#333333")
        axes.annotate(plain(median), (most, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [bar[0] for bar in bars])
    if "times Postfix" in unit:
        axes.axvline(1.0, color="#333333", linewidth=0.8, linestyle="--")
    axes.margins(x=0.12)
    _finish(figure, axes, folder, name, {bar[4] for bar in bars})
    return True


def _latency(folder: Path, scenario: Told) -> bool:
    """From p50 to p99, on a logarithmic scale."""
    half, most = bars_of(scenario, "received_p50_ms"), {bar[0]: bar[2] for bar in bars_of(scenario, "received_p99_ms")}
    if not half:
        return False
    figure, axes = _canvas(
        len(half), "From submission to the sink at full load", "ms, p50 to p99 (10 KiB, logarithmic)"
    )
    for row, (name, _, median, _, level) in enumerate(half[::-1]):
        axes.plot([median, most[name]], [row, row], color=COLOURS[level], linewidth=5, solid_capstyle="butt")
        axes.plot(median, row, "o", color=COLOURS[level], markersize=9)
        label = f"{plain(median)} to {plain(most[name])}"
        axes.annotate(label, (most[name], row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(half)), [bar[0] for bar in half[::-1]])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: plain(value))
    axes.margins(x=0.2)
    _finish(figure, axes, folder, "latency", {bar[4] for bar in half})
    return True


def plain(value: float) -> str:
    """Three digits, and never a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _canvas(rows: int, title: str, unit: str) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "postroad", "font.size": 10})  # equal figures make equal files
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.5, 1.7 + 0.42 * rows), layout="constrained")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    return figure, axes


def _finish(figure: Any, axes: Any, folder: Path, name: str, levels: set[str]) -> None:
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    marks = [Patch(color=COLOURS[level], label=_MEANING[level]) for level in COLOURS if level in levels]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), fontsize=8, frameon=False)
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    source = Path(sys.argv[1])
    print(" ".join(draw_all(json.loads(source.read_text(encoding="utf-8")), source.parent)))


if __name__ == "__main__":
    main()
