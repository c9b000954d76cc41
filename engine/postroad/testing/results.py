"""What the kits tell: one result for each case, with what was expected and the duty behind it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Failed", "Report", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """One case: what was expected, from which duty, and the problem, "" where there was none.  skipped: why not tried."""

    case: str
    expected: str
    duty: str
    problem: str = ""
    skipped: str = ""

    def __str__(self) -> str:
        if not self.problem:
            return f"{self.case}: {'skipped, ' + self.skipped if self.skipped else 'good'}"
        return f"{self.case}: {self.problem}\n    expected: {self.expected}\n    duty: {self.duty}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a kit found, case by case."""

    results: tuple[Result, ...]

    @property
    def problems(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.problem)

    def __str__(self) -> str:
        return "\n".join(str(result) for result in self.problems or self.results)


class Failed(AssertionError):
    """Duties are not done; `report` has every case."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{len(report.problems)} of {len(report.results)} cases failed\n{report}")
        self.report = report
