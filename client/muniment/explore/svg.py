"""Pictures that the server draws: by classes alone, as no style may stand in a page."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from muniment.explore.escaping import shown

HEIGHT: Final = 160
WIDTH: Final = 960
_LEFT: Final = 56  # room for the scale
_FOOT: Final = 22
_LABEL: Final = 40  # of a label, or it is left out


class Bar(NamedTuple):
    """A bar of stacked counts.

    Attributes:
        label: What stands below it.
        title: What it is, in words, for who cannot see it or points at it.
        parts: (class, count), the lowest first.
    """

    label: str
    title: str
    parts: tuple[tuple[str, int], ...]


def bars(data: Sequence[Bar], words: str) -> Markup:
    """Stacked bars beside each other, with a scale; `words` say what the picture shows."""
    most = max((sum(count for _, count in bar.parts) for bar in data), default=0) or 1
    top = _nice(most)
    step = (WIDTH - _LEFT) / max(1, len(data))
    room = HEIGHT - _FOOT
    drawn = [
        Markup('<svg class="bars" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, words
        )
    ]
    for at in (0, top // 2, top) if top > 1 else (0, top):
        y = room - at * (room - 10) / top
        drawn.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, WIDTH, y, y
            )
        )
        drawn.append(
            Markup('<text class="scale" x="{}" y="{:.1f}">{}</text>').format(
                _LEFT - 6, y + 4, f"{at:,}"
            )
        )
    every = max(1, len(data) // 8)
    for number, bar in enumerate(data):
        x, y = _LEFT + number * step, float(room)
        drawn.append(Markup("<g><title>{}</title>").format(shown(bar.title)))
        for kind, count in bar.parts:
            height = count * (room - 10) / top
            y -= height
            drawn.append(
                Markup(
                    '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
                ).format(kind, x, y, max(1.0, step - 2), height)
            )
        drawn.append(Markup("</g>"))
        if number % every == 0 and x + _LABEL <= WIDTH:
            drawn.append(
                Markup('<text class="label" x="{:.2f}" y="{}">{}</text>').format(
                    x, HEIGHT - 6, bar.label
                )
            )
    drawn.append(Markup("</svg>"))
    return Markup("").join(drawn)


def _nice(most: int) -> int:
    """The least of 1, 2, 5 times a power of ten that is not less."""
    power = 1
    while True:
        for times in (1, 2, 5):
            if times * power >= most:
                return times * power
        power *= 10
