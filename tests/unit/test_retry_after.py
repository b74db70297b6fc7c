"""RFC 9110 section 10.2.3: both forms of Retry-After, and what is none."""

from email.utils import formatdate

import pytest

from muniment.http.retryafter import retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("99999", 600),
        ("9" * 400, 600),
        (formatdate(1_000_090, usegmt=True), 90),
        (formatdate(9_000_000, usegmt=True), 600),
        (formatdate(999_000, usegmt=True), 0),
        ("", None),
        ("-3", None),
        ("1.5", None),
        ("²", None),
        ("١", None),
        ("soon", None),
        ("Mon, 99 Foo 99999 00:00:00 GMT", None),
    ],
)
def test_the_forms_of_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, 1_000_000.0, 600.0) == seconds
