"""The forms of a report, by the end of a file's name."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.errors import InputError
from muniment.report.html import encode_html
from muniment.report.jsonform import encode_json
from muniment.report.pdf import encode_pdf
from muniment.report.wording import document_of

Form = Callable[[dict[str, Any]], bytes]
"""Writes the values of a report as a file."""


def _html(values: dict[str, Any]) -> bytes:
    return encode_html(document_of(values))


def _pdf(values: dict[str, Any]) -> bytes:
    return encode_pdf(document_of(values))


FORMS: Final[Mapping[str, Form]] = {"html": _html, "pdf": _pdf, "json": encode_json}


def form_of(name: str) -> Form:
    """The form that a file's name asks for; InputError if there is none."""
    form = FORMS.get(name.rpartition(".")[2].lower())
    if form is None:
        endings = ", ".join(f".{one}" for one in FORMS)
        raise InputError(f"{name}: expected a name that ends in one of {endings}")
    return form
