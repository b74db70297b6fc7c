"""Drawings of a report: rectangles, lines and words, which SVG and PDF draw alike."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from muniment.report.queries import time_text

WIDTH: Final = 720.0
"""Of every drawing, in its own units."""

Ink = Literal["allow", "deny", "quiet", "text"]
"""What a shape is for: who draws it chooses the colour. None rests on colour alone."""

_LEFT: Final = 56.0  # where the bars begin: before them stand the numbers of the axis
_NAMES: Final = 236.0  # the same where names stand before them
_HEIGHT: Final = 150.0
_ROW: Final = 22.0
_LEGEND: Final = 24.0
_MOST: Final = 12  # rows of a drawing
_NAME: Final = 38  # characters of a name


class Box(NamedTuple):
    """A filled rectangle; x and y are its upper left corner, y grows downwards."""

    x: float
    y: float
    width: float
    height: float
    ink: Ink


class Words(NamedTuple):
    """Text whose baseline is at y; it begins, is centred or ends at x."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"] = "start"


class Drawing(NamedTuple):
    """A drawing, and what it shows in words."""

    title: str
    description: str
    height: float
    shapes: tuple[Box | Words, ...]


def over_time(values: dict[str, Any]) -> Drawing:
    """Decisions over time: a bar for each step, denials on top of what was allowed."""
    scope, bars = values["scope"], values["decisions"]["over_time"]
    allowed, denied = bars["allowed"], bars["denied"]
    most = max(map(sum, zip(allowed, denied, strict=True)), default=0)
    base = _LEGEND + 10.0 + _HEIGHT
    each = (WIDTH - _LEFT - 8.0) / len(allowed)
    shapes: list[Box | Words] = [*_legend()]
    for part in (0, most // 2, most) if most > 1 else (0, most):
        y = base - _HEIGHT * part / max(1, most)
        shapes.append(Box(_LEFT, y, WIDTH - _LEFT - 8.0, 0.5, "quiet"))
        shapes.append(Words(_LEFT - 6.0, y + 4.0, f"{part:,}", "end"))
    for at, (yes, no) in enumerate(zip(allowed, denied, strict=True)):
        x, width = _LEFT + at * each, max(0.6, each * 0.86)
        high = _HEIGHT * yes / max(1, most)
        higher = _HEIGHT * no / max(1, most)
        if yes:
            shapes.append(Box(x, base - high, width, high, "allow"))
        if no:
            shapes.append(Box(x, base - high - higher, width, higher, "deny"))
    shapes.append(Words(_LEFT, base + 18.0, time_text(scope["from"])))
    shapes.append(Words(WIDTH - 8.0, base + 18.0, time_text(scope["to"]), "end"))
    return Drawing(
        "Decisions over time",
        f"A bar for each {bars['step']:,} seconds of the window, of at most {most:,} decisions. "
        f"{sum(allowed):,} allowed, {sum(denied):,} denied.",
        base + 26.0,
        tuple(shapes),
    )


def by_code(values: dict[str, Any]) -> Drawing:
    """Denials by code: a bar for each."""
    rows = [(row["code"], row["leaves"]["count"]) for row in values["denials"]["by_code"]]
    uncoded = values["denials"]["without_code"]["leaves"]["count"]
    rows += [("without a code", uncoded)] if uncoded else []
    most = max((count for _, count in rows), default=0)
    room = WIDTH - _NAMES - 70.0
    shapes: list[Box | Words] = []
    for at, (code, count) in enumerate(rows):
        y = 6.0 + at * _ROW
        width = room * count / max(1, most)
        shapes.append(Words(_NAMES - 8.0, y + 13.0, code, "end"))
        shapes.append(Box(_NAMES, y, width, _ROW - 6.0, "deny"))
        shapes.append(Words(_NAMES + width + 6.0, y + 13.0, f"{count:,}"))
    told = ", ".join(f"{code}: {count:,}" for code, count in rows) or "none"
    return Drawing("Denials by code", f"{told}.", 12.0 + max(1, len(rows)) * _ROW, tuple(shapes))


def policies(values: dict[str, Any]) -> Drawing:
    """Since when and until when decisions were made under which policy."""
    rows = values["decisions"]["by_policy"]["rows"][:_MOST]
    spans = [
        (_policy_name(row), [(row["earliest"] / 1000, row["latest"] / 1000)], "allow")
        for row in rows
    ]
    told = "; ".join(
        f"{name}: {time_text(int(first))} to {time_text(int(last))}"
        for name, [(first, last)], _ in spans
    )
    return _timeline("Policies over time", f"{told or 'none'}.", values["scope"], spans)


def silences(values: dict[str, Any]) -> Drawing:
    """When which gateway was silent."""
    rows = values["gaps"]["silences"]["rows"]
    names = list(dict.fromkeys(row["producer"] for row in rows))[:_MOST]
    spans = [
        (name, [(row["from"], row["to"]) for row in rows if row["producer"] == name], "deny")
        for name in names
    ]
    told = "; ".join(
        f"{name}: {time_text(first)} to {time_text(last)}"
        for name, found, _ in spans
        for first, last in found
    )
    return _timeline("Silences over time", f"{told or 'none'}.", values["scope"], spans)


def short(text: str, most: int = _NAME) -> str:
    """A name that fits: the middle of a longer one is left out."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def _policy_name(row: dict[str, Any]) -> str:
    if row["policy"] is None:
        return f"{short(row['producer'], 20)}: no policy"
    return f"{short(row['producer'], 18)}: {short(row['policy'], 12)} {short(row['revision'], 8)}"


def _timeline(
    title: str,
    description: str,
    scope: dict[str, Any],
    rows: Sequence[tuple[str, Sequence[tuple[float, float]], Any]],
) -> Drawing:
    """A row for each name, with boxes where it has spans of Unix seconds."""
    start, end = scope["from"], scope["to"]
    room = WIDTH - _NAMES - 8.0
    shapes: list[Box | Words] = []
    for at, (name, spans, ink) in enumerate(rows):
        y = 6.0 + at * _ROW
        shapes.append(Words(_NAMES - 8.0, y + 13.0, short(name), "end"))
        shapes.append(Box(_NAMES, y + 7.5, room, 0.5, "quiet"))
        for first, last in spans:
            x = _NAMES + room * (first - start) / (end - start)
            width = max(1.5, room * (last - first) / (end - start))
            shapes.append(Box(min(x, WIDTH - 9.5), y, width, _ROW - 6.0, ink))
    base = 12.0 + max(1, len(rows)) * _ROW
    shapes.append(Words(_NAMES, base + 10.0, time_text(start)))
    shapes.append(Words(WIDTH - 8.0, base + 10.0, time_text(end), "end"))
    return Drawing(title, description, base + 18.0, tuple(shapes))


def _legend() -> Iterator[Box | Words]:
    yield Box(_LEFT, 4.0, 12.0, 12.0, "allow")
    yield Words(_LEFT + 18.0, 14.0, "allowed")
    yield Box(_LEFT + 84.0, 4.0, 12.0, 12.0, "deny")
    yield Words(_LEFT + 102.0, 14.0, "denied (on top)")
