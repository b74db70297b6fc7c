"""The forms of a report, by the end of a file's name."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.errors import InputError
from muniment.report.html import encode_html
from muniment.report.pdf import encode_pdf
from muniment.report.wording import document_of

Form = Callable[[dict[str, Any]], bytes]
"""Writes the values of a report as a file."""


FORMS: Final[Mapping[str, Form]] = {
    "html": lambda values: encode_html(document_of(values)),
    "pdf": lambda values: encode_pdf(document_of(values)),
    # ASCII, and members in a fixed order: the same report has the same bytes.
    "json": lambda values: json.dumps(values, indent=1).encode("ascii") + b"\n",
}


def form_of(name: str) -> Form:
    """The form that a file's name asks for; InputError if there is none."""
    form = FORMS.get(name.rpartition(".")[2].lower())
    if form is None:
        endings = ", ".join(f".{one}" for one in FORMS)
        raise InputError(f"{name}: expected a name that ends in one of {endings}")
    return form
