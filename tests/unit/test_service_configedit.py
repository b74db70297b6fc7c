"""Changes to a configuration by command keep all that they are not about."""

import os
import stat
from pathlib import Path

import pytest

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
    replace_config(path, "new", lambda _: True)
    assert synced == [("file", False), ("folder", True)]
