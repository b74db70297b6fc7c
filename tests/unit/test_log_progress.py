"""Lines that say how far a long command is."""

import pytest

from muniment_log.cli.progress import Progress


def test_a_line_at_once_and_then_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([100.0, 101.0, 106.0, 108.0, 111.0])
    progress = Progress(True, lambda: next(times))  # as click gives it
    for done in (1000, 2000, 7000, 8000, 12_000):
        progress(done, 20_000)
    assert capsys.readouterr().err.splitlines() == [
        "1,000 of 20,000 leaves",
        "7,000 of 20,000 leaves, 1,000 a second, 13 s left",
        "12,000 of 20,000 leaves, 1,000 a second, 8 s left",
    ]


def test_what_is_left_has_two_units_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 10.0, 20.0, 30.0])
    progress = Progress(True, lambda: next(times))
    for done, total in ((0, 1), (10, 135), (20, 10_000), (20, 20)):
        progress(done, total)
    assert [line.split(", ")[-1] for line in capsys.readouterr().err.splitlines()[1:]] == [
        "2 min 5 s left",
        "2 h 46 min left",
        "0 s left",
    ]


@pytest.mark.parametrize("shown", [None, False])
def test_quiet_without_a_terminal(shown: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(shown)(1, 2)
    assert capsys.readouterr().err == ""
