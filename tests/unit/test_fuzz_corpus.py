"""The kept corpus and changes of it, through each fuzz target; `scripts/fuzz` looks for more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzzing import corpus
from fuzzing.targets import TARGETS
from signing import mutations


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_corpus_holds(name: str) -> None:
    inputs = corpus.load(name)
    assert inputs
    for data in [b"", *inputs]:
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"input: {data!r}")
            raise


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"spool"}))  # which writes a file for each
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_was_changed_is_refused_or_comes_back(name: str, data: st.DataObject) -> None:
    """Each target's law, of any bytes and of good objects after a few edits."""
    TARGETS[name](data.draw(st.binary(max_size=100) | mutations(corpus.load(name))))


def test_every_file_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} == set(TARGETS)
