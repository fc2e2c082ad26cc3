"""Figures as a table, for a terminal and for Markdown. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.figures import Figure, Series

HEAD = ("", "ours", "peer", "ratio", "by round", "target", "", "p50 / p99", "peer's p50 / p99")
_VERDICTS = {True: "PASS", False: "FAIL", None: "-"}


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """One row of cells for each figure, in the order of HEAD."""
    return [_row(figure) for figure in figures]


def as_text(figures: Sequence[Figure]) -> str:
    """For a terminal: columns aligned, then a line for each note."""
    table = [HEAD, *rows(figures)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join([*(line.rstrip() for line in lines), *notes(figures)])


def as_markdown(figures: Sequence[Figure]) -> str:
    table = [HEAD, ("---",) * len(HEAD), *rows(figures)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    told = notes(figures)
    return "\n".join([*lines, *(["", *(f"- {note}" for note in told)] if told else [])])


def notes(figures: Sequence[Figure]) -> list[str]:
    return [f"{figure.what}: {figure.note}" for figure in figures if figure.note]


def _row(figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    return (
        figure.what,
        amount(figure.ours.median, figure.unit),
        f"{amount(figure.peer.median, figure.unit)} ({figure.peer.name})",
        f"{figure.ratio:.2f}",
        f"{low:.2f}-{high:.2f}",
        _target(figure),
        _VERDICTS[figure.passed],
        _latency(figure.ours),
        _latency(figure.peer),
    )


def amount(value: float, unit: str) -> str:
    shown = {"req/s": f"{value:,.0f}", "s": f"{value:.3f}", "MB": f"{value:.1f}"}[unit]
    return f"{shown} {unit}"


def _target(figure: Figure) -> str:
    target = figure.target
    if target is None:
        return "-"
    unit = "" if target.of == "ratio" else f" {figure.unit}"
    aim = "" if target.aim is None else f" (aim {target.aim:g})"
    return f"{target.sign} {target.bound:g}{unit}{aim}"


def _latency(series: Series) -> str:
    if not series.p50:
        return "-"
    p50, p99 = (statistics.median(values) * 1000 for values in (series.p50, series.p99))
    return f"{p50:.2f} / {p99:.2f} ms"
