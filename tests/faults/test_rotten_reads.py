"""A running log on rotten storage: it tells nothing from damaged tiles, names them, and goes on."""

import random
from pathlib import Path

import decisions
import processes
from faults.rot import flip
from faults.services import services
from log_deployment import GATEWAY, PUBLISHED, ask, deployed
from muniment_log.cli.exits import EXIT_DAMAGED
from waiting import eventually

RECORDS = decisions.decisions(900, producer=GATEWAY)
DAMAGE = {
    ("bundle", "idx = 0"): "tile/entries/000",
    ("bundle", "idx = 2"): "tile/entries/002",
    ("tile", "level = 0 AND idx = 1"): "tile/0/001",
}


def test_a_running_log_tells_nothing_from_rotten_tiles(tmp_path: Path) -> None:
    with services() as quick, deployed(tmp_path) as made:
        stream = made.stream()
        for at in range(0, 900, 300):
            answer = made.post(stream.take(RECORDS[at : at + 300]), PUBLISHED)
            assert answer.status == 200, answer.body
        # Who waits has the head before it is stored; a start from an older one reads older tiles.
        eventually(lambda: b"\n903\n" in ask(f"{made.url}/checkpoint").body)
        made.log.terminate()
        database = made.config.with_name("log.db")
        for (table, where), path in DAMAGE.items():
            flip(database, table, "data", where, random.Random(path))

        log = quick.log(made.config)
        made.log = log
        asked = {
            "tile/entries/000": ["/tile/entries/000", "/v1/entries/3"],
            "tile/entries/002": ["/tile/entries/002", "/v1/entries/700"],
            "tile/0/001": [
                "/tile/0/001", "/tile/entries/001", "/v1/entries/300",
                "/v1/proofs/inclusion?index=300",
                "/v1/proofs/consistency?from=300&to=903",
            ],
        }  # fmt: skip
        count = 0
        for path, places in asked.items():
            for place in places:
                count += 1
                problem = ask(made.url + place).problem(500, "damaged-tile")
                assert problem["detail"].startswith(f"{path} is damaged")
                assert f"muniment_log_damaged_tiles_total {count}.0" in (
                    ask(f"{made.url}/metrics").body.decode()
                )
        assert log.stderr.count("stored tile is damaged") == count
        # What is sound is told, and proved; a damaged bundle spoils no proof.
        for place in (
            "/tile/0/000",
            "/tile/0/002",
            "/v1/entries/800",
            "/v1/proofs/inclusion?index=3",
            "/v1/proofs/inclusion?index=800",
        ):
            assert ask(made.url + place).status == 200, place
        # The log goes on: what is new needs no old tile.
        again = made.post(stream.take(RECORDS[:1]), PUBLISHED)
        assert again.status == 200, again.body

        argv = processes.muniment_log("check", "--config", made.config)
        checked = processes.run(argv, code=EXIT_DAMAGED)
        assert "damaged bundle: " in checked.stdout
        log.kill()
