"""What is told of a log that is not ready: its own words, and the witnesses that it lacks."""

import json
from typing import Any

import pytest

from muniment.http.answer import Answer
from muniment_gateway.app import doctor
from muniment_gateway.deciding.readiness import why_not_ready

PROBLEM = {"content-type": "application/problem+json"}


def said(witnesses: Any, status: int = 503) -> str:
    body = {
        "type": "urn:muniment:problem:no-quorum",
        "detail": "the witness quorum is not met",
        "witnesses": witnesses,
    }
    return why_not_ready(Answer(status, PROBLEM, json.dumps(body).encode()))


def witness(name: str, error: str | None) -> dict[str, object]:
    return {"witness": name, "size": 7, "error": error, "accused": False}


def test_the_witnesses_that_fail_are_named_and_no_others() -> None:
    told = said([witness("w1", None), witness("w2", "HttpError: Connection refused")])
    assert told == (
        "the witness quorum is not met (HTTP 503, no-quorum); "
        "witness w2: HttpError: Connection refused"
    )


def test_of_many_witnesses_three_are_named_and_none_at_length() -> None:
    told = said([witness(f"w{number}", "x" * 1000) for number in range(5)])
    assert told.endswith("; and 2 more")
    assert len(told) < 800


@pytest.mark.parametrize("witnesses", [None, "w1", [None, 3], [{"error": 3}], {"error": "no list"}])
def test_what_is_no_list_of_witnesses_names_none(witnesses: Any) -> None:
    assert said(witnesses) == "the witness quorum is not met (HTTP 503, no-quorum)"


def test_an_answer_that_is_no_problem_has_its_status() -> None:
    """The log is named by whoever tells of it."""
    assert why_not_ready(Answer(502, {}, b"<html>")) == "/readyz (HTTP 502)"
    assert why_not_ready(Answer(302, {}, b"")).startswith("/readyz: HTTP 302 where ")


def test_lines_within_stay_one_line() -> None:
    assert "\n" not in said([witness("w1", "a\nb")])


@pytest.mark.parametrize(
    ("url", "why", "advice"),
    [
        ("https://log.example", "TLS: certificate verify failed", "[outgoing]"),
        ("http://log.example", "the server closed the connection", "without TLS"),
        ("http://log.example", "Connection refused", "is it running there?"),
    ],
)
def test_doctor_says_what_to_look_at_first(url: str, why: str, advice: str) -> None:
    assert advice in doctor._advice(url, why)  # noqa: SLF001
