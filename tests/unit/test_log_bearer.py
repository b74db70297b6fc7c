"""Bearer tokens: known by their hash, valid until their end, for one holder."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment_log.core.bearer import NONE, BadTokenError, Token, Tokens


def token(text: str, holder: str, expires: float | None = None) -> Token:
    return Token(sha256(text.encode()).digest(), holder, expires)


KNOWN = Tokens([token("one", "a.example"), token("two", "b.example", 1000.0)])


def test_each_token_is_its_holders() -> None:
    assert KNOWN
    assert KNOWN.holders == {"a.example", "b.example"}
    assert KNOWN.holder("one", 1e12) == "a.example"
    assert KNOWN.holder("two", 999.9) == "b.example"


@pytest.mark.parametrize("now", [1000.0, 1000.1, 1e12])
def test_it_ends_when_it_was_said_to(now: float) -> None:
    with pytest.raises(BadTokenError, match="expired"):
        KNOWN.holder("two", now)


@given(st.text())
def test_any_other_text_is_nobodys(text: str) -> None:
    if text in {"one", "two"}:
        return
    with pytest.raises(BadTokenError, match="not known") as caught:
        KNOWN.holder(text, 0)
    assert str(caught.value) == "the bearer token is not known"


def test_none() -> None:
    assert not NONE
    with pytest.raises(BadTokenError):
        NONE.holder("", 0)
