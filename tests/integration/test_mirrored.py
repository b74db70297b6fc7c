"""A real log pushes to real mirrors of ours, embedded and in a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
from log_deployment import GATEWAY, ORIGIN, Deployment, ask, cluster_for, deployed, leaves_of
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.mirrors import check_mirrored
from waiting import eventually

RECORDS = decisions.decisions(600, producer=GATEWAY)


@pytest.fixture(params=["sqlite", "cluster"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, cluster_for(request), mirrors=2) as made:
        yield made


def mirrored(deployment: Deployment, size: int, seconds: float = 30) -> SignedCheckpoint:
    answer = ask(f"{deployment.url}/checkpoint.mirrored?size={size}&timeout={seconds:g}")
    assert answer.status == 200, answer.body
    return parse_signed_checkpoint(answer.body)


def test_mirrors_hold_what_the_log_published_and_their_cosignatures_are_served(
    deployment: Deployment,
) -> None:
    assert ask(f"{deployment.url}/checkpoint.mirrored").status in {200, 404}
    stream = deployment.stream()
    for start in range(0, 500, 100):
        answer = deployment.post(stream.take(RECORDS[start : start + 100]), "?wait=published")
        assert answer.status == 200
    size = answer.json["size"]
    note = mirrored(deployment, size)
    check_mirrored(deployment.policy.verify(note))
    leaves = leaves_of(deployment.url, size)
    for mirror in deployment.mirrors:

        def shows(copy: str = mirror.copy_of(ORIGIN)) -> bool:
            answer = ask(f"{copy}/checkpoint")
            return answer.status == 200 and (
                parse_signed_checkpoint(answer.body).checkpoint.size >= size
            )

        eventually(shows)
        assert leaves_of(mirror.copy_of(ORIGIN), size) == leaves

    # One is gone: the other is enough; and when it comes back it is given what it lacks.
    gone = deployment.mirrors[0]
    assert gone.process is not None
    gone.process.kill()
    answer = deployment.post(stream.take(RECORDS[500:600]), "?wait=published")
    assert answer.status == 200
    size = answer.json["size"]
    check_mirrored(deployment.policy.verify(mirrored(deployment, size)))
    gone.start()

    def has_it() -> bool:
        answer = ask(f"{gone.copy_of(ORIGIN)}/checkpoint")
        return answer.status == 200 and (
            parse_signed_checkpoint(answer.body).checkpoint.size >= size
        )

    eventually(has_it)
