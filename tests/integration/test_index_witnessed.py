"""A real log, its index log, and real witnesses that compute the index before they cosign it."""

import json
import re
from pathlib import Path
from typing import Any

import decisions
import omitting
import processes
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Deployment, ask, deployed
from muniment.records.api import Revocation, Target, encode_record
from muniment.tlog.evidence import WrongMapRoot, parse_evidence
from waiting import eventually

RECORDS = decisions.decisions(700, producer=GATEWAY)


def revocation(id_: str) -> bytes:
    common = {"v": 1, "id": id_, "time": 1_790_000_000_000, "producer": GATEWAY}
    target = Target(execution="run-x")
    return encode_record(Revocation(**common, target=target, since=1_790_000_000, reason="no"))  # type: ignore[arg-type]


def compute_index(made: Deployment, witnesses: int) -> None:
    """Has some witnesses read the log where it is now, and compute its index."""
    for number in range(witnesses):
        config = made.folder / f"w{number}" / "witness.toml"
        text = re.sub(r"^(url|recompute) = .*\n", "", config.read_text(), flags=re.MULTILINE)
        for vkeys in re.findall(r"^vkeys = \[[^]]*\]\n", text, flags=re.MULTILINE):
            more = f'url = "{made.url}"\n'
            if f"{ORIGIN}/index+" in vkeys:
                more = f'url = "{made.url}/index"\nrecompute = true\n'
            text = text.replace(vkeys, vkeys + more)
        config.write_text(text)
        processes.run(processes.muniment_witness("reload", "--config", config), code=0)


def state(made: Deployment) -> dict[str, Any]:
    return ask(f"{made.url}/readyz").json["index_log"]


def post(made: Deployment, records: list[bytes]) -> int:
    answer = made.post(made.stream().take(records), PUBLISHED)
    assert answer.status == 200, answer.body
    return answer.json["size"]


def evidence_of(witness: processes.Process) -> list[str]:
    found = json.loads(ask(f"{witness.url}/gossip/evidence").body)["evidence"]
    return [each["hash"] for each in found]


def test_an_honest_index_has_its_quorum_and_one_that_omits_a_revocation_has_none(
    tmp_path: Path,
) -> None:
    with deployed(tmp_path, complete="enabled = true\npace_seconds = 0.05\n") as made:
        compute_index(made, 2)
        for at in (0, 300):
            size = post(made, RECORDS[at : at + 300])
            eventually(lambda: state(made)["covered"] >= size, lambda: str(state(made)))  # noqa: B023
        made.log.terminate()
        made.config.with_name("map.db").unlink()
        made.log = omitting.start(made, "r-1")
        compute_index(made, 2)
        post(made, [revocation("r-1")])
        # Both that compute it find it, one after the other asks, and the third is no quorum.
        recomputing = made.witnesses[:2]
        eventually(lambda: all(map(evidence_of, recomputing)), lambda: str(state(made)))
        assert state(made)["covered"] == size
        assert not evidence_of(made.witnesses[2])
        for witness in recomputing:
            [hash_] = evidence_of(witness)
            evidence = parse_evidence(ask(f"{witness.url}/gossip/evidence/{hash_}").body)
            assert isinstance(evidence, WrongMapRoot)
            assert evidence.leaf.head.size > size
        # Decisions go on.
        post(made, RECORDS[600:601])
