"""The progress bar of the commands: how far, how fast, how long still."""

import io
import sys
from pathlib import Path

import pytest

from muniment.cli.common import progress
from muniment.cli.lines import count_lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_has_position_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("click._termui_impl.time.time", iter(range(1000)).__next__)
    times = iter([0.0, 0.0, 2.0, 4.0])
    with progress("Auditing", lambda: next(times)) as show:
        show(0, 0)  # not known yet: no bar
        assert terminal.getvalue() == ""
        for done in (0, 2000, 4000):
            show(done, 10_000)
    shown = terminal.getvalue()
    assert "Auditing" in shown
    assert "4000/10000" in shown
    assert "00:00:" in shown
    assert "1,000 a second" in shown


def test_what_begins_anew_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an audit does that reads all again before it finds fault."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("click._termui_impl.time.time", iter(range(1000)).__next__)
    times = iter([0.0, 0.0, 2.0, 5.0, 5.0, 7.0])
    with progress("Auditing", lambda: next(times)) as show:
        for done in (0, 8000, 0, 4000):
            show(done, 8000)
    first, again = terminal.getvalue().rstrip("\n").split("\n")
    assert "8000/8000" in first
    assert "4000/8000" in again
    assert "2,000 a second" in again


def test_nothing_is_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Auditing") as show:
        show(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("data", "lines"), [(b"", 0), (b"a\nb\n", 2), (b"x" * 600_000 + b"\n", 1)])
def test_lines_are_counted_for_a_bar(tmp_path: Path, data: bytes, lines: int) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    assert count_lines(path) == lines
    assert count_lines(Path("-")) == count_lines(tmp_path) == 0
