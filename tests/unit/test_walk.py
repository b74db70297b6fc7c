"""The architecture page's walk of one decision: its files exist, and are few enough to read."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 40
"""Files that somebody reads in one sitting."""


def test_the_walk_of_a_decision_names_files_that_exist_and_enters_each_folder_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    _, _, section = page.partition("## One decision, file by file")
    section, _, _ = section.partition("\n## ")
    rows = re.findall(r"^\| `([a-z_/]+)` \| ([^|]+) \|", section, re.MULTILINE)
    files = [ROOT / folder / f"{name}.py" for folder, names in rows for name in _names(names)]
    assert [path for path in files if not path.is_file()] == []
    assert len({folder for folder, _ in rows}) == len(rows) > 5
    assert 20 < len(set(files)) == len(files) <= MOST


def _names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_/]+)`", cell)
