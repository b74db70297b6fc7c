"""Changes to a configuration by command keep all that they are not about."""

from pathlib import Path

import pytest

from muniment_service.config import ConfigError
from muniment_service.configedit import with_keys


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
