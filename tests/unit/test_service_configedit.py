"""Changes to a configuration by command keep all that they are not about."""

import fcntl
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from muniment.tlog.encoding import MunimentError
from muniment_service import configedit
from muniment_service.config import ConfigError
from muniment_service.configedit import replace_config, with_keys


def changed(folder: Path, text: str) -> str:
    path = folder / "x.toml"
    path.write_text(text)
    return with_keys(path, lambda names: [*names[1:], 'n"ew.pem'])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '# a\nkeys = ["a.pem"]   # ours\n\n[x]\nkeys=["no"]',
            '# a\nkeys = ["n\\"ew.pem"]   # ours\n\n[x]\nkeys=["no"]',
        ),
        (
            "origin = 'o'\nkeys=['a.pem', 'b.pem']\n# end\n",
            'origin = \'o\'\nkeys=["b.pem", "n\\"ew.pem"]\n# end\n',
        ),
        (
            'x = """\nkeys = ["no"]\n"""\nkeys = ["a"]\n',
            'x = """\nkeys = ["no"]\n"""\nkeys = ["n\\"ew.pem"]\n',
        ),
    ],
)
def test_only_the_list_of_keys_changes(tmp_path: Path, before: str, after: str) -> None:
    assert changed(tmp_path, before) == after


@pytest.mark.parametrize(
    "text", ["", "[x]\nkeys = []\n", 'keys = "a"\n', 'keys = [\n  "a",  # ours\n]\n']
)
def test_a_list_of_another_form_is_left_to_people(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="by hand"):
        changed(tmp_path, text)


def test_what_is_not_toml_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: "):
        changed(tmp_path, "keys = [")


def test_one_command_at_a_time_changes_a_configuration(tmp_path: Path) -> None:
    path, draft = tmp_path / "x.toml", tmp_path / ".x.toml.new"
    path.write_text("old")
    draft.write_text("what a killed command has left, which is longer")

    def refused(_: Path) -> bool:
        with pytest.raises(MunimentError, match=r"x\.toml: another command is changing it"):
            replace_config(path, "old", "other", lambda _: True)
        return True

    replace_config(path, "old", "new", refused)
    assert (path.read_text(), draft.exists()) == ("new", False)


def test_nothing_is_taken_back_that_another_command_has_changed(tmp_path: Path) -> None:
    """Both read the file, one of them has put its own in place: it was about something else."""
    path = tmp_path / "x.toml"
    path.write_text("old")
    replace_config(path, "old", "one's", lambda _: True)
    with pytest.raises(MunimentError, match=r"x\.toml: another command"):
        replace_config(path, "old", "the other's", lambda _: True)
    assert path.read_text() == "one's"
    replace_config(path, "old", "one's", lambda _: True)  # a transaction is tried again
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.toml"]


def test_a_draft_that_has_become_the_configuration_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command waited for the lock where another one put its draft in place."""
    path, draft = tmp_path / "x.toml", tmp_path / ".x.toml.new"
    path.write_text("old")
    flock = fcntl.flock

    def late(file: IO[str], how: int) -> None:
        monkeypatch.undo()
        draft.replace(path)
        path.write_text("the other's")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(MunimentError, match="another command"):
        replace_config(path, "old", "mine", lambda _: True)
    assert (path.read_text(), draft.exists()) == ("the other's", False)


def test_a_command_that_is_done_leaves_the_next_one_s_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft that went while it was judged could be a third command's by the time it is placed."""
    path, draft = tmp_path / "x.toml", tmp_path / ".x.toml.new"
    path.write_text("old")

    def next_begins(_: Path) -> None:
        draft.write_text("the next one's")

    monkeypatch.setattr(configedit, "sync_names", next_begins)
    replace_config(path, "old", "new", lambda _: True)
    assert (path.read_text(), draft.read_text()) == ("new", "the next one's")


def test_a_file_that_an_operator_has_prepared_stays(tmp_path: Path) -> None:
    path, prepared = tmp_path / "x.toml", tmp_path / "x.toml.new"
    path.write_text("old")
    prepared.write_text("by hand")
    replace_config(path, "old", "new", lambda _: True)
    assert (path.read_text(), prepared.read_text()) == ("new", "by hand")


def test_no_draft_is_written_through_a_link(tmp_path: Path) -> None:
    path, other = tmp_path / "x.toml", tmp_path / "other"
    path.write_text("old")
    other.write_text("kept")
    (tmp_path / ".x.toml.new").symlink_to(other)
    with pytest.raises(MunimentError, match=r"\.x\.toml\.new: "):
        replace_config(path, "old", "new", lambda _: True)
    assert (path.read_text(), other.read_text()) == ("old", "kept")


def test_a_configuration_in_place_of_another_stays_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that says which keys are in it may be durable already, on another disk."""
    path = tmp_path / "x.toml"
    path.write_text("old")
    synced: list[tuple[str, bool]] = []

    def seen(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append((kind, path.read_text() == "new"))

    monkeypatch.setattr(os, "fsync", seen)
    replace_config(path, "old", "new", lambda _: True)
    assert synced == [("file", False), ("folder", True)]
