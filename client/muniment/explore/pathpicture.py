"""An audit path (RFC 6962 section 2.1.1) as the path that it is: from a leaf up to the root."""

from typing import Final, NamedTuple

from markupsafe import Markup

from muniment.tlog.merkle import leaf_hash, node_hash
from muniment.tlog.tlogproof import TlogProof

_ROW: Final = 46
_WIDTH: Final = 720
_BOX: Final = (230, 34)
_MIDDLE: Final = _WIDTH // 2


class PathLevel(NamedTuple):
    """One level of a path: a node on it, and the sibling that the proof brings.

    Attributes:
        first: The first leaf below the node.
        end: The first leaf behind it.
        value: Its hash.
        sibling: (first, end, hash) of the sibling; None at the root.
        is_left: Whether the sibling stands on the left.
    """

    first: int
    end: int
    value: bytes
    sibling: tuple[int, int, bytes] | None
    is_left: bool


def steps(proof: TlogProof, leaf: bytes) -> list[PathLevel]:
    """The path of a proof that was verified, from the leaf up."""
    spans: list[tuple[int, int, bool]] = []
    low, high = 0, proof.checkpoint.checkpoint.size
    while high - low > 1:
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        is_left = proof.index >= middle
        spans.append((low, middle, True) if is_left else (middle, high, False))
        low, high = (middle, high) if is_left else (low, middle)
    value = leaf_hash(leaf)
    found: list[PathLevel] = []
    for (first, end, is_left), sibling in zip(reversed(spans), proof.proof, strict=True):
        found.append(PathLevel(low, high, value, (first, end, sibling), is_left))
        value = node_hash(sibling, value) if is_left else node_hash(value, sibling)
        low, high = min(low, first), max(high, end)
    return [*found, PathLevel(low, high, value, None, is_left=False)]


def draw(path: list[PathLevel]) -> Markup:
    """The picture: the root on top, the leaf at the bottom, siblings on the side they are on."""
    height = _ROW * len(path) + 4
    parts = [
        Markup(
            '<svg class="path" viewBox="0 0 {} {}" role="img" aria-labelledby="path-words">'
        ).format(_WIDTH, height)
    ]
    for number, step in enumerate(path):
        y = height - _ROW * (number + 1)
        if number + 1 < len(path):
            above = y - _ROW + _BOX[1]
            parts.append(_line(_MIDDLE, y, _MIDDLE, above))
            side = _side(step)
            parts.append(_line(side + _BOX[0] // 2, y, _MIDDLE, above))
        name = "root" if step.sibling is None else "leaf" if number == 0 else "computed"
        parts.append(_box(_MIDDLE - _BOX[0] // 2, y, name, step.first, step.end, step.value))
        if step.sibling is not None:
            parts.append(_box(_side(step), y, "given", *step.sibling))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _side(step: PathLevel) -> int:
    return 4 if step.is_left else _WIDTH - _BOX[0] - 4


def _line(x1: int, y1: int, x2: int, y2: int) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x1, y1, x2, y2)


def _box(x: int, y: int, kind: str, first: int, end: int, value: bytes) -> Markup:
    leaves = f"leaf {first:,}" if end - first == 1 else f"leaves {first:,} to {end - 1:,}"
    return Markup(
        '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="4"/>'
        '<text x="{}" y="{}">{}</text><text class="hash" x="{}" y="{}">{}</text></g>'
    ).format(
        *(kind, f"{leaves}: {value.hex()}", x, y, *_BOX),
        *(x + 8, y + 14, f"{kind}: {leaves}"),
        *(x + 8, y + 28, f"{value.hex()[:24]}…"),
    )
