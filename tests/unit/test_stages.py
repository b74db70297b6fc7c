"""What the benchmark concludes from the times that several processes noted of lone decisions."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from benchmark.report import staged
from benchmark.rig import BenchError
from benchmark.stages import STAGES, decisions_of, stages_of, typical
from benchmark.traced import GATEWAY, LOG, WITNESS, Noted, Point, install, read, write


@pytest.mark.parametrize("point", [*GATEWAY, *LOG, *WITNESS], ids=lambda point: point.function)
def test_what_is_timed_is_there(point: Point) -> None:
    owner = importlib.import_module(point.module)
    for part in point.function.split("."):
        owner = getattr(owner, part)
    assert callable(owner)


class _Timed:
    label = "w1"

    def at_once(self, more: int) -> int:
        return more + 1

    async def later(self, more: int) -> int:
        raise ValueError(more)


async def test_calls_are_noted_and_do_what_they_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("at_once", "later"):
        monkeypatch.setattr(_Timed, name, getattr(_Timed, name))  # put back at the end
    noted: list[Noted] = []
    install(tuple(Point(n, __name__, f"_Timed.{n}") for n in ("at_once", "later")), noted)
    assert _Timed().at_once(more=1) == 2
    with pytest.raises(ValueError, match="5"):
        await _Timed().later(5)
    assert [(one.name, one.label) for one in noted] == [("at_once", "w1"), ("later", "w1")]
    assert all(one.began <= one.ended for one in noted)
    write(noted, tmp_path / "trace")
    assert read(tmp_path / "trace") == noted


def _decision(at: int, *, last: str = "w3-1+w3-2") -> dict[str, list[Noted]]:
    """One decision whose stages take 1, 2, 3 … microseconds; `last` completes the quorum."""

    def noted(name: str, began: int, ended: int, label: str = "") -> Noted:
        return Noted(name, label, at + began * 1000, at + ended * 1000)

    first = "w1" if last != "w1" else "w2"
    return {
        "gateway": [noted("request", 1, 105), noted("submit", 0, 120)],
        "log": [
            noted("sign", 7, 17),
            noted("commit", 6, 15),
            noted("verify", 50, 51, first),
            noted("post", 21, 76, last),
            noted("verify", 76, 80, last),
            noted("announce", 88, 89),
            noted("handle", 3, 101),
        ],
        first: [],
        last.partition("-")[0]: [
            noted("sign", 36, 45),
            noted("commit", 36, 55),
            noted("handle", 28, 65),
        ],
    }


def test_the_stages_of_a_decision_add_up_to_the_whole() -> None:
    [decision] = decisions_of(_decision(1_000_000), 1)
    assert decision.labels == {"first": "w1", "last": "w3-1+w3-2"}
    found = stages_of(decision)
    assert list(found) == list(STAGES)
    assert list(found.values()) == [1, 2, 3, 9, 6, 7, 8, 9, 10, 21, 12, 13, 4, 15]
    assert sum(found.values()) == 120


def test_a_decision_whose_head_another_commit_signed_is_left_out_and_too_many_are_an_error() -> (
    None
):
    parts = [_decision(number * 1_000_000) for number in range(10)]
    parts[3]["log"] = [one for one in parts[3]["log"] if one.name != "sign"]
    traces: dict[str, list[Noted]] = {}
    for one in parts:
        for process, times in one.items():
            traces.setdefault(process, []).extend(times)
    assert len(list(decisions_of(traces, 10))) == 9
    with pytest.raises(BenchError, match="0 of 1 decisions"):
        list(decisions_of(parts[3], 1))


def test_a_typical_decision_has_the_medians_of_when_what_began_and_ended() -> None:
    decisions = [next(decisions_of(_decision(at), 1)) for at in (0, 7_000_000)]
    spans = {(span.lane, span.name): (span.began, span.ended) for span in typical(decisions)}
    assert spans["gateway", "request"] == (1.0, 105.0)
    assert spans["last", "sign"] == (36.0, 45.0)
    assert ("first", "sign") not in spans


def test_the_page_shows_each_stage_with_its_share() -> None:
    stage = {"p50": 1.0, "mean": 2.0, "p90": 3.0}
    text = staged(
        {
            "scenarios": {
                "stages": {
                    "p50_ms": 8.1,
                    "stages_ms": {"one": stage, "other": stage},
                    "processor_ms": {"log": 3.25},
                }
            }
        }
    )
    assert "| one | 1.00 | 2.00 | 50% |" in text
    assert "log 3.25. Others' share is not known." in text
