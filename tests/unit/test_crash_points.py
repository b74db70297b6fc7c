"""The crash points of the commit and publish paths: each has one number, and its test."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
POINT = re.compile(r"# ([ACEK][0-9]+): a crash")
NAMED = re.compile(r"\b[ACEK][0-9]\b")
KILLS = (
    "tests/integration/test_log_erasure.py",
    "tests/integration/test_rotation_kill.py",
    "tests/faults/test_kill.py",
    "tests/cluster/test_chaos.py",
    "tests/cluster/test_addenda.py",
    "tests/cluster/test_addenda_erased.py",
    "tests/cluster/test_rotation.py",
)


def test_each_crash_point_is_named_by_a_test_that_kills() -> None:
    folders = (ROOT / "log" / "muniment_log", ROOT / "service" / "muniment_service")
    source = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    points = sorted(point for text in source for point in POINT.findall(text))
    assert points == [
        *(f"A{number}" for number in range(1, 7)),
        *(f"C{number}" for number in range(1, 9)),
        *(f"E{number}" for number in range(5)),
        "K1",
    ]
    named = {name for path in KILLS for name in NAMED.findall((ROOT / path).read_text())}
    assert named == set(points)
