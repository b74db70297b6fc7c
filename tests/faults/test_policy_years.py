"""A log whose witnesses are exchanged between two years, and one policy file for both."""

import json
import time
from pathlib import Path

import decisions
from chains import YEAR, root, root_signer
from faults.services import Services
from log_deployment import GATEWAY, PUBLISHED, Deployment, ask, deployed, run
from muniment.tlog.policy import PolicyChain, parse_policy
from muniment.tlog.policyupdate import next_version, sign_version
from muniment.tlog.policyversion import SignedVersion, format_chain
from processes import Process, muniment, muniment_log
from processes import run as process
from waiting import eventually
from witness_tools import set_up

RECORDS = decisions.decisions(6, producer=GATEWAY)


def with_version(
    chain: tuple[SignedVersion, ...], text: str, window: tuple[int, int]
) -> tuple[SignedVersion, ...]:
    made = next_version(chain, text, window, root())
    return (*chain, sign_version(made, [root_signer()]))


def prove(made: Deployment, log: Process, name: str, index: int) -> list[str]:
    """Writes the proof of an entry, and returns what `muniment verify` takes of it."""
    proof, entry = made.folder / f"{name}.tlog-proof", made.folder / f"{name}.json"
    run(muniment("prove", "--log", log.url, "--index", index, "--out", proof, "--entry-out", entry))
    return [str(proof), "--entry", str(entry)]


def judged(proof: list[str], policy: Path) -> tuple[int, str]:
    """The exit code, and the version of the policy or the reason."""
    done = process(muniment("verify", *proof, "--policy", policy, "--json"))
    told = json.loads(done.stdout)
    return done.returncode, str(told.get("policy_version", told.get("reason", "")))


def test_proofs_of_two_years_under_one_policy(tmp_path: Path, quick: Services) -> None:
    now = int(time.time())
    turn = now + YEAR
    with deployed(tmp_path) as made:
        made.log.terminate()
        old_text = (made.config.parent / "witnesses.policy").read_text()
        logs = [line for line in old_text.splitlines() if line.startswith("log ")]
        log_keys = [line.removeprefix("log ") for line in logs]
        config, vkeys = set_up(tmp_path / "next", log_keys, "ed25519", "mldsa44")
        witness = quick.witness(config, clock_off=YEAR + 60)
        names = [f"next{place}" for place in range(len(vkeys))]
        new_text = "\n".join(
            [
                *logs,
                *(f"witness {n} {k} {witness.url}" for n, k in zip(names, vkeys, strict=True)),
                f"group next all {' '.join(names)}",
                "quorum next",
                "",
            ]
        )
        first = with_version((), old_text, (now - 3600, turn))
        both = with_version(first, new_text, (turn, turn + YEAR))
        policy = made.config.parent / "witnesses.policy"
        policy.write_bytes(format_chain(both))
        chain = parse_policy(policy.read_bytes())
        assert isinstance(chain, PolicyChain)

        stream = made.stream()
        log = quick.log(made.config)
        answer = ask(f"{log.url}/v1/batches{PUBLISHED}", stream.take(RECORDS[:2]))
        assert answer.status == 200, answer.body
        old = prove(made, log, "old", 0)
        log.terminate()

        # A moment before the new year. It turns by itself, and asks the new witness.
        log = quick.log(made.config, clock_off=turn - int(time.time()) - 2)

        eventually(lambda: "reloaded" in log.stderr, lambda: log.stderr)
        told = json.loads(process(muniment_log("status", "--config", made.config)).stdout)
        assert [one["number"] for one in told["policy"]["versions"]] == [2]
        answer = ask(f"{log.url}/v1/batches{PUBLISHED}", stream.take(RECORDS[2:4]))
        assert answer.status == 200, answer.body
        new = prove(made, log, "new", answer.json["first"])

        only_old, only_new = tmp_path / "old.policy", tmp_path / "new.policy"
        only_old.write_bytes(format_chain(first))
        only_new.write_text(new_text)
        assert judged(old, policy) == (0, "1")
        assert judged(new, policy) == (0, "2")
        code, reason = judged(old, only_new)
        assert code == 4
        assert "no quorum" in reason
        code, reason = judged(new, only_old)
        assert code == 4
        assert "no quorum" in reason

        # The proof of the old year is anchored anew by the new witness.
        refreshed = tmp_path / "refreshed.tlog-proof"
        run(
            muniment(*("refresh", old[0], "--log", log.url, "--policy", policy, "--out", refreshed))
        )
        assert judged([str(refreshed), *old[1:]], only_new)[0] == 0
        run(muniment("audit", "--log", log.url, "--policy", policy))
        log.terminate()
