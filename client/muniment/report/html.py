"""A report as one HTML file: no script, nothing loaded, every text escaped; SVG inside."""

import base64
import html
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Final

from muniment.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Items,
    Listing,
    Paragraph,
    Picture,
    QueryNumbers,
    Section,
    Table,
    visible,
)
from muniment.report.pictures import WIDTH, Box, Drawing
from muniment.report.seed import HTML_ID

_STYLE: Final = files("muniment.report").joinpath("report.css").read_text("utf-8")
_STYLE_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
)


def encode_html(document: Document) -> bytes:
    """Writes a document as an HTML file."""
    return "".join(_page(document)).encode()


def _page(document: Document) -> Iterator[str]:
    title = _text(document.title)
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width">\n'
    yield '<meta name="color-scheme" content="light dark">\n'
    yield f"<title>{title}: {_text(document.subtitle)}</title>\n<style>{_STYLE}</style>\n</head>\n"
    yield f"<body>\n<header>\n<h1>{title}</h1>\n<p>{_text(document.subtitle)}</p>\n</header>\n"
    yield '<nav aria-label="Sections"><ul>\n'
    for section in document.sections:
        yield f'<li><a href="#{section.name}">{_text(section.title)}</a></li>\n'
    yield '<li><a href="#queries">Queries</a></li>\n</ul></nav>\n<main>\n'
    for section in document.sections:
        yield from _section(section)
    yield '<section id="queries">\n<h2>Queries</h2>\n<ol class="queries">\n'
    for number, command in enumerate(document.queries, 1):
        yield f'<li id="q{number}"><code>{_command(command)}</code></li>\n'
    yield "</ol>\n</section>\n"
    yield '<section id="seed-of-this-report">\n<h2>For the command that repeats it</h2>\n'
    yield f'<pre id="{HTML_ID}" tabindex="0">{html.escape(document.seed)}</pre>\n</section>\n'
    yield "</main>\n</body>\n</html>\n"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.name}">\n<h2>{_text(section.title)}</h2>\n'
    for block in section.blocks:
        yield from _block(block)
    yield "</section>\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield f"<p>{_text(text)}</p>\n"
        case Items(texts):
            yield "<ul>\n"
            for text in texts:
                yield f"<li>{_text(text, most=10_000)}</li>\n"
            yield "</ul>\n"
        case Listing(name, lines):
            body = "\n".join(html.escape(visible(line, 10_000)) for line in lines)
            yield f'<pre tabindex="0" aria-label="{_text(name)}">{body}</pre>\n'
        case Table():
            yield from _table(block)
        case Picture(drawing):
            yield from _svg(drawing)


def _table(table: Table) -> Iterator[str]:
    caption = _text(table.caption)
    yield f'<div class="wide" role="region" tabindex="0" aria-label="{caption}">\n'
    yield f"<table>\n<caption>{caption}</caption>\n"
    if any(table.columns):
        heads = "".join(
            f'<th scope="col">{_text(name)}</th>' if name else "<td></td>" for name in table.columns
        )
        yield f"<thead><tr>{heads}</tr></thead>\n"
    yield "<tbody>\n"
    for first, *others in table.rows:
        cells = "".join(f"<td{_class(cell)}>{_cell(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row"{_class(first)}>{_cell(first)}</th>{cells}</tr>\n'
    yield "</tbody>\n</table>\n</div>\n"


def _class(cell: Cell) -> str:
    return ' class="number"' if isinstance(cell, int) else ""


def _cell(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case QueryNumbers(numbers):
            return " ".join(f'<a href="#q{number}">Q{number}</a>' for number in numbers)
        case Code():
            return f"<bdi><code>{_text(cell)}</code></bdi>" if cell else ""
        case _:
            return f"<bdi>{_text(cell)}</bdi>"


def _svg(drawing: Drawing) -> Iterator[str]:
    title = _text(drawing.title)
    yield f'<figure>\n<svg role="img" viewBox="0 0 {WIDTH:g} {drawing.height:g}">'
    yield f"<title>{title}</title><desc>{_text(drawing.description, most=2_000)}</desc>\n"
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            yield (
                f'<rect class="{shape.ink}" x="{shape.x:.2f}" y="{shape.y:.2f}" '
                f'width="{shape.width:.2f}" height="{shape.height:.2f}"/>\n'
            )
        else:
            yield (
                f'<text class="{shape.anchor}" x="{shape.x:.2f}" y="{shape.y:.2f}">'
                f"{_text(shape.text)}</text>\n"
            )
    yield f"</svg>\n<figcaption>{title}</figcaption>\n</figure>\n"


def _text(text: str, *, most: int = 400) -> str:
    return html.escape(visible(text, most))


def _command(text: str) -> str:
    return html.escape(visible(text, 10_000))
