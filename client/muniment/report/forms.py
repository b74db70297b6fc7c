"""The forms of a report, by the end of a file's name."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.errors import InputError
from muniment.report.jsonform import encode_json

Form = Callable[[dict[str, Any]], bytes]
"""Writes the values of a report as a file."""

FORMS: Final[Mapping[str, Form]] = {"json": encode_json}


def form_of(name: str) -> Form:
    """The form that a file's name asks for; InputError if there is none."""
    form = FORMS.get(name.rpartition(".")[2].lower())
    if form is None:
        raise InputError(
            f"{name}: expected a name that ends in {', '.join(f'.{one}' for one in FORMS)}"
        )
    return form
