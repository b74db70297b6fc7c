"""``muniment refresh``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from msgspec import structs

from muniment.cli.common import (
    FILE,
    file_option,
    json_option,
    log_option,
    optional_policy,
    read_policy,
    run,
)
from muniment.cli.proving import cosigned_checkpoint, prove_leaf
from muniment.errors import BadAnswer, FormatError, InputError, VerificationError
from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.permit import MAX_PERMIT_SIZE, Permit, parse_permit
from muniment.permit.permitfile import HEADER, WITH_STATUS
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.policy import Policy
from muniment.tlog.proofs import verify_consistency, verify_inclusion
from muniment.tlog.tlogproof import TlogProof, parse_tlog_proof
from muniment.tlog.treereader import read_consistency

_HEADS: Final = (HEADER.encode(), WITH_STATUS.encode())
_BEHIND: Final = "a copy of the log that is behind, or the log was rolled back"


@click.command()
@click.argument("path", metavar="FILE", type=FILE)
@log_option
@file_option("--out", words="Write here, instead of in FILE's place.")
@optional_policy("Verify the checkpoint before anything is written, and count its witnesses.")
@json_option
def refresh(
    path: Path, log_url: str, out: Path | None, policy_path: Path | None, *, as_json: bool
) -> None:
    """Add the cosignatures that came later to a proof or permit that was given before.

    The new proof is of the same leaf, and its tree continues the old one's: both are checked before
    anything is written. FILE stays as it is when the log has no more cosignatures than it, and
    none by a later version of a policy over time.
    """
    policy = None if policy_path is None else read_policy(policy_path)
    data = read_bounded(path, "proof", most=MAX_PERMIT_SIZE)
    try:
        permit = parse_permit(data) if data.startswith(_HEADS) else None
        old = parse_tlog_proof(data) if permit is None else permit.proof
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None
    new = run(_work(log_url, old, policy))
    before, now = _weigh(old.checkpoint, policy), _weigh(new.checkpoint, policy)
    is_anchored = policy is not None and _is_anchored(old, new, policy)
    is_better = is_anchored or now > before
    if is_better:
        write_atomic(out or path, _encode(permit, new), "proof")
    elif out is not None:
        write_atomic(out, data, "proof")
    head = (new if is_better else old).checkpoint.checkpoint
    if as_json:
        said = {"index": old.index, "size": head.size, "origin": head.origin}
        click.echo(json.dumps({**said, "changed": is_better, "before": before, "now": now}))
    elif is_better:
        what = "signatures" if policy is None else "witnesses of the policy"
        click.echo(f"Entry {old.index} of {head.origin}, in the tree of {head.size}: {out or path}")
        click.echo(f"It has {now} {what}; before it had {before}.")
    else:
        click.echo(f"The log has no more cosignatures than {path} has ({before}).")


def _is_anchored(old: TlogProof, new: TlogProof, policy: Policy) -> bool:
    """Whether a new proof counts where the old one does not, or by a later version of the policy.

    Raises VerificationError if it does not count.
    """
    now = policy.verify(new.checkpoint)
    try:
        before = policy.verify(old.checkpoint)
    except VerificationError:
        return True
    return now.policy is not before.policy and now.time() > before.time()


def _weigh(checkpoint: SignedCheckpoint, policy: Policy | None) -> int:
    """How many have signed; of the policy's witnesses, where there is one."""
    if policy is None:
        return len(checkpoint.note.signatures)
    try:
        names = {verified.vkey for verified in policy.recognise(checkpoint)}
    except VerificationError:
        return 0
    return sum(witness.vkey in names for witness in policy.judge_of(checkpoint).witnesses)


def _encode(permit: Permit | None, proof: TlogProof) -> bytes:
    return proof.encode() if permit is None else replace(permit, proof=proof).encode()


async def _work(log_url: str, old: TlogProof, policy: Policy | None) -> TlogProof:
    was = old.checkpoint.checkpoint
    async with LogClient(log_url) as client:
        newest = await cosigned_checkpoint(client, was.size)
        head = newest.checkpoint
        if policy is not None:
            policy.verify(newest, origin=was.origin)
        if head.origin != was.origin:
            raise VerificationError(f"{log_url} is the log {head.origin}, not {was.origin}")
        if head == was:
            return structs.replace(
                old, checkpoint=old.checkpoint.with_signatures(newest.note.signatures)
            )
        if head.size < was.size:
            raise VerificationError(
                f"the log shows {head.size} leaves, and the proof's tree has {was.size}: {_BEHIND}"
            )
        if head.size == was.size and head.root != was.root:
            raise VerificationError(
                f"the log shows another tree of {was.size} leaves than the proof's: keep this "
                "file, and audit the log"
            )
        made = await prove_leaf(client, newest, old.index)
        verify_inclusion(made.leaf_hash, old.index, was.size, old.proof, was.root)
        if head.size > was.size:
            try:
                proof = await read_consistency(log_tiles(client, head.head), was.size, head.size)
            except FormatError as error:
                raise BadAnswer(str(error)) from None
            verify_consistency(was.size, was.root, head.size, head.root, proof)
        return structs.replace(made.proof, extra=old.extra)
