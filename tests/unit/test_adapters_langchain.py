"""Which calls LangChain's adapter takes for cut off; the kit plays one with its agent."""

from types import SimpleNamespace
from typing import Any

import pytest

from muniment.adapters.langchain import _was_cut_off


def answered(
    metadata: dict[str, Any], *calls: str | None, invalid: tuple[str, ...] = ()
) -> SimpleNamespace:
    """Returns an answer of the model, with calls of these ids."""
    return SimpleNamespace(
        tool_calls=[{"id": one} for one in calls],
        invalid_tool_calls=[{"id": one} for one in invalid],
        response_metadata=metadata,
    )


def was_cut_off(call: str | None, *messages: SimpleNamespace) -> bool:
    return _was_cut_off(call, {"messages": [SimpleNamespace(content="go"), *messages]})


@pytest.mark.parametrize(
    ("metadata", "cut_off"),
    [
        ({"finish_reason": "length"}, True),  # OpenAI, and what speaks as it does
        ({"finish_reason": "MAX_TOKENS"}, True),  # Gemini
        ({"finish_reason": "model_length"}, True),  # Mistral: the end of its context
        ({"stop_reason": "max_tokens"}, True),  # Anthropic
        ({"stop_reason": "model_context_window_exceeded"}, True),
        ({"stopReason": "max_tokens"}, True),  # Bedrock
        ({"done_reason": "length"}, True),  # Ollama
        ({"status": "incomplete"}, True),  # OpenAI's Responses
        ({"finish_reason": "tool_calls"}, False),
        ({"finish_reason": "stop", "model_name": "length"}, False),
        ({"stop_reason": "tool_use"}, False),
        ({"status": "completed", "finish_reason": None}, False),
        ({}, False),
    ],
)
def test_the_last_call_is_cut_off_where_the_metadata_says_so(
    metadata: dict[str, Any], cut_off: bool
) -> None:
    answer = answered(metadata, "first", "last")
    assert was_cut_off("last", answer) is cut_off
    assert not was_cut_off("first", answer)


def test_a_call_before_one_that_could_not_be_closed_is_whole() -> None:
    cut = {"finish_reason": "length"}
    assert not was_cut_off("last", answered(cut, "first", "last", invalid=("beyond",)))


def test_an_id_is_that_of_its_latest_answer() -> None:
    cut, whole = (
        answered({"finish_reason": "length"}, "a"),
        answered({"finish_reason": "stop"}, "a"),
    )
    assert was_cut_off("a", whole, cut)
    assert not was_cut_off("a", cut, whole)


def test_calls_without_ids_are_cut_off_together() -> None:
    assert was_cut_off(None, answered({"finish_reason": "length"}, None, None))


@pytest.mark.parametrize("state", [None, [], {}, {"messages": []}])
def test_without_the_answer_nothing_is_known(state: object) -> None:
    assert not _was_cut_off("a", state)
    assert not was_cut_off("a", answered({"finish_reason": "length"}, "b"))
