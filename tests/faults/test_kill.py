"""kill -9 at random moments under load, round after round, of a real log and a real witness.

MUNIMENT_KILL_ROUNDS is how many rounds; 300 take some minutes (and `pytest --timeout 3000`). The
moments come from a seed, MUNIMENT_KILL_SEED.
"""

import asyncio
import http.client
import os
import random
import threading
from pathlib import Path

import pytest

from faults.services import services
from log_deployment import GATEWAY, ask, deployed
from log_load import Load, tell
from muniment.tlog.witnesswire import origin_hash
from waiting import eventually
from witness_tools import GrowingLog, log_signer, set_up

ROUNDS = int(os.environ.get("MUNIMENT_KILL_ROUNDS", "8"))
SEED = int(os.environ.get("MUNIMENT_KILL_SEED", "1"))
PAGES = 200


@pytest.mark.parametrize("workers", [1, 2])
def test_log_killed_at_random_moments_keeps_every_receipt(tmp_path: Path, workers: int) -> None:
    """At any of the crash points C1, C2, C3, C4 and C5, and A1, A2 and A3."""
    tell(f"MUNIMENT_KILL_SEED={SEED} MUNIMENT_KILL_ROUNDS={ROUNDS}")
    dice = random.Random(SEED)
    with services() as quick, deployed(tmp_path, workers=workers) as made:
        made.log.terminate()
        load = Load(made, SEED)
        for number in range(ROUNDS):
            made.log = quick.log(made.config, pages=PAGES)
            asyncio.run(load.until_killed(dice.uniform(0.0, 0.5), receipts=number))
        made.log = quick.log(made.config, pages=PAGES)
        entries = load.go_on()
        size = len(entries)
        # No witness refuses: each of the three has cosigned a head with everything in it.
        ready = f"{made.url}/readyz"
        eventually(
            lambda: all(witness["size"] == size for witness in ask(ready).json["witnesses"]),
            lambda: ask(ready).body,
        )

        # Nothing of the gateways but what they hold receipts for: no duplicate, no loss.
        manifests = [entry for entry in entries if entry.startswith(b"muniment/manifest/v1\n")]
        theirs = [m for m in manifests if GATEWAY.encode() + b" s" in m]
        assert len(theirs) == len(load.receipts) + 1
        tell(f"{len(load.receipts)} batches acknowledged, {size} leaves, {len(load.plain)} plain")


def test_witness_killed_at_random_moments_never_goes_back(tmp_path: Path) -> None:
    tell(f"MUNIMENT_KILL_SEED={SEED} MUNIMENT_KILL_ROUNDS={ROUNDS}")
    dice = random.Random(SEED)
    log = GrowingLog(signers=[log_signer()])
    config, _ = set_up(tmp_path / "w", log.vkeys)
    size = 0
    with services() as quick:
        for _ in range(ROUNDS):
            witness = quick.witness(config, pages=PAGES)
            killer = threading.Timer(dice.uniform(0.0, 0.3), witness.kill)
            killer.start()
            told = size
            try:
                while True:
                    request = log.request(told, told + 1).encode()
                    answer = ask(f"{witness.url}/add-checkpoint", request)
                    assert answer.status == 200, answer.body
                    told += 1
            except (OSError, http.client.HTTPException):
                killer.join()
            witness = quick.witness(config, pages=PAGES)
            latest = ask(f"{witness.url}/{origin_hash(log.origin)}/checkpoint")
            found = int(latest.body.split(b"\n")[1]) if latest.status == 200 else 0
            assert told <= found <= told + 1
            size = found
            if size:
                fork = log.fork(size - 1).request(size, size + 1).encode()
                assert ask(f"{witness.url}/add-checkpoint", fork).status == 422
            witness.kill()
        witness = quick.witness(config, pages=PAGES)
        more = log.request(size, size + 1).encode()
        assert ask(f"{witness.url}/add-checkpoint", more).status == 200
    tell(f"{size} heads cosigned")
