"""A report as PDF, by fpdf2 (the extra ``report``): vector drawings, bookmarks, links, no clock.

Nothing is compressed, so that the bytes do not depend on a build of zlib. The standard fonts have
Latin-1: what else a text holds is shown as escapes.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.errors import InputError
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
    Table,
    visible,
)
from muniment.report.pictures import WIDTH, Box, Drawing, Ink
from muniment.report.seed import PDF_MARK

if TYPE_CHECKING:
    from fpdf import FPDF

_MARGIN: Final = 14.0  # millimetres, as all lengths here
_SMALL: Final = 7.0  # points, of tables and listings
_LINE: Final = 3.4
_INKS: Final[dict[Ink, tuple[int, int, int]]] = {
    "allow": (11, 102, 194),
    "deny": (194, 72, 11),
    "quiet": (208, 215, 222),
    "text": (27, 31, 36),
}
_ALIGN: Final = {"start": 0.0, "middle": 0.5, "end": 1.0}


def encode_pdf(document: Document) -> bytes:
    """Writes a document as a PDF file; InputError says how to get fpdf2 where it is absent."""
    try:
        from fpdf import FPDF  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "a report as PDF takes fpdf2: pip install 'muniment[report]'; HTML and JSON do without"
        ) from None
    pdf = FPDF(orientation="landscape", format="A4")
    pdf.set_compression(False)
    pdf.set_creation_date(datetime.fromtimestamp(document.made, UTC))
    pdf.set_lang("en")
    pdf.set_title(_text(f"{document.title}: {document.subtitle}"))
    pdf.set_producer("muniment, fpdf2")
    seed = base64.b64encode(document.seed.encode()).decode()
    pdf.set_keywords(f"{PDF_MARK}{seed}")
    pdf.set_margin(_MARGIN)
    pdf.set_auto_page_break(True, margin=_MARGIN)
    pdf.set_line_width(0.1)
    return _Writer(pdf, document).write()


class _Writer:
    def __init__(self, pdf: "FPDF", document: Document) -> None:
        self._pdf = pdf
        self._document = document
        self._links = [pdf.add_link(page=1) for _ in document.queries]

    def write(self) -> bytes:
        pdf, document = self._pdf, self._document
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 16)
        self._lines(document.title, 8)
        pdf.set_font("Helvetica", "", 10)
        self._lines(document.subtitle, 5)
        for section in document.sections:
            self._title(section.title)
            for block in section.blocks:
                self._block(block)
        self._title("Queries")
        pdf.set_font("Courier", "", _SMALL)
        for number, (command, link) in enumerate(
            zip(document.queries, self._links, strict=True), 1
        ):
            pdf.set_link(link, y=pdf.get_y(), page=pdf.page_no())
            self._lines(f"Q{number}  {command}", _LINE)
        return bytes(pdf.output())

    def _title(self, title: str) -> None:
        pdf = self._pdf
        pdf.ln(4)
        pdf.set_font("Helvetica", "B", 12)
        if pdf.will_page_break(24):
            pdf.add_page()
        pdf.start_section(_text(title))
        self._lines(title, 7)

    def _block(self, block: Block) -> None:
        pdf = self._pdf
        match block:
            case Paragraph(text):
                pdf.set_font("Helvetica", "", 9)
                self._lines(text, 4.4)
                pdf.ln(1.5)
            case Items(texts):
                pdf.set_font("Helvetica", "", 9)
                for text in texts:
                    self._lines(f"- {text}", 4.4)
                pdf.ln(1.5)
            case Listing(_, lines):
                pdf.set_font("Courier", "", _SMALL)
                for line in lines:
                    self._lines(line or " ", _LINE)
                pdf.ln(1.5)
            case Table():
                self._table(block)
            case Picture(drawing):
                self._draw(drawing)

    def _lines(self, text: str, height: float) -> None:
        self._pdf.multi_cell(
            0, height, _text(text, 10_000), new_x="LMARGIN", new_y="NEXT", align="L"
        )

    def _table(self, table: Table) -> None:
        pdf = self._pdf
        pdf.set_font("Helvetica", "B", 9)
        if pdf.will_page_break(20):
            pdf.add_page()
        self._lines(table.caption, 6)
        pdf.set_font("Helvetica", "", _SMALL)
        rows = [table.columns, *table.rows] if any(table.columns) else list(table.rows)
        with pdf.table(
            col_widths=_widths(rows, len(table.columns)),
            first_row_as_headings=any(table.columns),
            line_height=_LINE,
            text_align="LEFT",
            padding=0.6,
            borders_layout="HORIZONTAL_LINES",
        ) as made:
            for cells in rows:
                row = made.row()
                for cell in cells:
                    self._cell(row, cell)
        pdf.ln(2)

    def _cell(self, row: Any, cell: Cell) -> None:
        if isinstance(cell, QueryNumbers) and cell.numbers:
            first = cell.numbers[0]
            row.cell(_words(cell), link=self._links[first - 1])
        else:
            row.cell(_words(cell), align="RIGHT" if isinstance(cell, int) else "LEFT")

    def _draw(self, drawing: Drawing) -> None:
        pdf = self._pdf
        scale = 180.0 / WIDTH
        if pdf.will_page_break(drawing.height * scale + 8):
            pdf.add_page()
        pdf.set_font("Helvetica", "B", 9)
        self._lines(drawing.title, 6)
        left, top = pdf.l_margin, pdf.get_y()
        pdf.set_font("Helvetica", "", _SMALL)
        for shape in drawing.shapes:
            x, y = left + shape.x * scale, top + shape.y * scale
            if isinstance(shape, Box):
                pdf.set_fill_color(*_INKS[shape.ink])
                pdf.rect(x, y, shape.width * scale, max(0.1, shape.height * scale), style="F")
            else:
                text = _text(shape.text)
                pdf.text(x - _ALIGN[shape.anchor] * pdf.get_string_width(text), y, text)
        pdf.set_fill_color(255, 255, 255)
        pdf.set_y(top + drawing.height * scale + 2)


def _words(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case QueryNumbers(numbers):
            return " ".join(f"Q{number}" for number in numbers)
        case Code() | str():
            return _text(cell)


def _widths(rows: Sequence[tuple[Cell, ...]], columns: int) -> tuple[float, ...]:
    """Relative widths by what is in the columns, none of them too narrow to read."""
    longest = [max((len(_words(row[at])) for row in rows), default=1) for at in range(columns)]
    return tuple([float(min(max(length, 7), 44) + 3) for length in longest])


def _text(text: str, most: int = 400) -> str:
    """Text that the standard fonts have: Latin-1, all else as escapes."""
    return visible(text, most).encode("latin-1", "backslashreplace").decode("latin-1")
