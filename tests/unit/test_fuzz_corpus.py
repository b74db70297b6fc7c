"""Every input of the kept corpus, through its fuzz target; `scripts/fuzz` looks for more."""

import pytest

from fuzzing import corpus
from fuzzing.targets import TARGETS


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


def test_every_file_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} == set(TARGETS)
