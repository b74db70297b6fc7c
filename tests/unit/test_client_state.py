"""The auditor's pure parts: trust rules, right edge, state file."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logsim import LOG_SIGNER, NOW, ORIGIN, POLICY, WITNESSES
from muniment.audit.statefile import AuditState, format_state, load_state, parse_state, save_state
from muniment.audit.streams import OpenBatch, StreamPlace
from muniment.audit.trust import Misbehaviour, ProvenMisbehaviour, StaleCheckpoint, TrustState
from muniment.errors import InputError
from muniment.local.atomicfile import read_state
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.heads import Relation
from muniment.tlog.merkle import CompactRange, leaf_hashes, root_of
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.proofs import nodes_from_tiles, plan_consistency
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import Tile, new_tiles

LEAVES = [b"leaf %d" % n for n in range(700)]
OTHER = [b"other %d" % n for n in range(700)]


def head(leaves: list[bytes], size: int, *, now: int = NOW) -> CosignedCheckpoint:
    checkpoint = Checkpoint(ORIGIN, size, root_of(leaf_hashes(leaves[:size])))
    return POLICY.verify(sign_checkpoint(checkpoint, [LOG_SIGNER, *WITNESSES], now))


def proof(leaves: list[bytes], old: int, new: int) -> tuple[bytes, ...]:
    plan = plan_consistency(old, new)
    hashes = leaf_hashes(leaves[:new])
    tiles = {
        tile: b"".join(
            root_of(hashes[at : at + 256**tile.level])
            for at in range(tile.start, tile.end, 256**tile.level)
        )
        for tile in plan.tiles(new)
    }
    return plan.assemble(nodes_from_tiles(plan.nodes, new, tiles))


# Trust


def test_rule_5_the_same_root_is_the_same_tree() -> None:
    state = TrustState.on_first_use(head(LEAVES, 5))
    newer = head(LEAVES, 5, now=NOW + 9)
    assert state.relate(newer) is Relation.SAME
    assert state.accept(newer, ()).checkpoint == newer.signed


def test_rule_5_another_root_is_misbehaviour_with_both_notes() -> None:
    first, second = head(LEAVES, 5), head(OTHER, 5)
    with pytest.raises(ProvenMisbehaviour) as caught:
        TrustState.on_first_use(first).relate(second)
    assert caught.value.misbehaviour.kind == "same-size"
    assert caught.value.misbehaviour.notes == (first.signed.encode(), second.signed.encode())


def test_rule_6_smaller_is_stale_and_proves_nothing() -> None:
    state = TrustState.on_first_use(head(LEAVES, 5))
    with pytest.raises(StaleCheckpoint) as caught:
        state.accept(head(OTHER, 4), ())
    assert (caught.value.seen, caught.value.trusted) == (4, 5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 600), st.integers(1, 99))
def test_rule_7_larger_needs_a_consistency_proof(old: int, more: int) -> None:
    state, new = TrustState.on_first_use(head(LEAVES, old)), head(LEAVES, old + more)
    assert state.relate(new) is (Relation.UNKNOWN if old else Relation.EXTENDS)
    accepted = state.accept(new, proof(LEAVES, old, old + more))
    assert (accepted.size, accepted.root) == (new.size, new.root)
    with pytest.raises(VerificationError):
        state.accept(new, (*proof(LEAVES, old, old + more), b"x" * 32))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 600), st.integers(1, 99))
def test_rule_7_a_proof_from_another_old_root_is_a_fork(old: int, more: int) -> None:
    state, new = TrustState.on_first_use(head(OTHER, old)), head(LEAVES, old + more)
    right = proof(LEAVES, old, old + more)
    with pytest.raises(VerificationError):
        state.accept(new, right)
    implied = root_of(leaf_hashes(LEAVES[:old]))
    with pytest.raises(ProvenMisbehaviour) as caught:
        state.accept(new, right, implied_root=implied)
    assert caught.value.misbehaviour.kind == "fork"
    assert caught.value.misbehaviour.implied_root == implied
    # A root and a proof that do not give the new root are nothing but noise.
    with pytest.raises(VerificationError):
        state.accept(new, right, implied_root=b"x" * 32)


def test_rule_2_another_origin() -> None:
    state = TrustState.on_first_use(head(LEAVES, 5))
    checkpoint = Checkpoint("other.example/log", 6, b"r" * 32)
    other = replace(head(LEAVES, 6), signed=sign_checkpoint(checkpoint, [LOG_SIGNER], NOW))
    with pytest.raises(VerificationError, match=r"other\.example"):
        state.relate(other)


def test_rule_0_a_condemned_log_stays_condemned() -> None:
    bad = Misbehaviour("same-size", (b"a", b"b"))
    state = TrustState.on_first_use(head(LEAVES, 5)).condemned(bad)
    for size in (4, 5, 6):
        with pytest.raises(ProvenMisbehaviour):
            state.relate(head(LEAVES, size))


# The right edge


@cache
def many() -> list[bytes]:
    return leaf_hashes([b"%d" % n for n in range(66_000)])


@cache
def tile_of(tile: Tile) -> bytes:
    span = 256**tile.level
    return b"".join(root_of(many()[at : at + span]) for at in range(tile.start, tile.end, span))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 66_000) | st.sampled_from([256, 65_535, 65_536]), max_size=3))
def test_the_edge_gives_every_tile_and_the_root(sizes: list[int]) -> None:
    edge = TileEdge()
    for size in sorted(sizes):
        before, seen = edge.size, dict[Tile, bytes]()
        edge = TileEdge.restore(edge.size, edge.partials)
        for start in range(edge.size // 256 * 256, size, 256):
            leaves = many()[start : min(start + 256, size)]
            whole = len(leaves) == 256
            hashes = [root_of(leaves)] if whole else leaves
            edge, full = edge.without_bundle().append(hashes, level=int(whole))
            seen.update(full)
        seen.update(edge.tiles())
        assert edge.size == size
        assert edge.root() == root_of(many()[:size])
        assert {tile for tile in new_tiles(before, size) if tile.level} <= set(seen)
        assert all(data == tile_of(tile) for tile, data in seen.items())


def test_the_edge_refuses_what_cannot_follow() -> None:
    edge, _ = TileEdge().append(leaf_hashes(LEAVES[:5]))
    with pytest.raises(ValueError, match="begins at leaf 5"):
        edge.append([root_of(leaf_hashes(LEAVES[:256]))], level=1)
    assert edge.without_bundle().append(leaf_hashes(LEAVES[:5])) == (edge, [])


@pytest.mark.parametrize("levels", [[], [b"x" * 32], [b"x" * 64, b""], [b"x" * 63]])
def test_an_edge_of_another_size_is_malformed(levels: list[bytes]) -> None:
    with pytest.raises(FormatError, match="edge"):
        TileEdge.restore(2, levels)


# The state file


def state_of(size: int) -> AuditState:
    edge, _ = TileEdge().append(leaf_hashes(LEAVES[:size]))
    leaves = CompactRange.EMPTY.extend(leaf_hashes(LEAVES[: min(3, size)]))
    return AuditState(
        TrustState.on_first_use(head(LEAVES, size)),
        edge.partials,
        (
            (("gw.example/b", "b"), StreamPlace(0, bytes(32))),
            (("gw.example/ä", "a"), StreamPlace(7, b"m" * 32)),
        ),
        OpenBatch(size - leaves.size, leaves, "gw.example/b"),
    )


def condemned(size: int) -> AuditState:
    state = state_of(size)
    proof = Misbehaviour("fork", (b"one \xc3\xa4\n", b"two\n"), b"i" * 32, (b"p" * 32,))
    return replace(state, trust=state.trust.condemned(proof), open=None)


STATES = [state_of(size) for size in (0, 1, 255, 256, 300, 513)] + [condemned(40)]


@pytest.mark.parametrize("state", STATES)
def test_a_state_file_gives_back_the_state(state: AuditState, tmp_path: Path) -> None:
    assert parse_state(format_state(state)) == state
    save_state(tmp_path / "audit.state", state)
    assert load_state(tmp_path / "audit.state") == state
    assert [path.name for path in tmp_path.iterdir()] == ["audit.state"]


def test_no_state_file_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "none") is None


def test_a_state_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        save_state(tmp_path / "no" / "audit.state", STATES[0])


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_garbage_is_no_state_file(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_state(data)


def test_an_edge_that_does_not_give_the_root_is_refused() -> None:
    state = state_of(300)
    edge = (b"x" * len(state.edge[0]), *state.edge[1:])
    with pytest.raises(FormatError, match="root"):
        parse_state(format_state(replace(state, edge=edge)))


def test_only_an_absent_file_where_one_can_be_kept_is_a_first_use(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert read_state(path, "state", most=9) is None
    path.write_bytes(b"123456789")
    assert read_state(path, "state", most=9) == b"123456789"
    with pytest.raises(InputError, match="longer than 8 bytes"):
        read_state(path, "state", most=8)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"state .*/state: empty \(0 bytes\)"):
        read_state(path, "state", most=9)
    with pytest.raises(InputError, match="empty"):
        load_state(path)
    (tmp_path / "link").symlink_to(tmp_path / "away")
    with pytest.raises(InputError, match="a link to a file that is not there"):
        read_state(tmp_path / "link", "state", most=9)
    for folder in (tmp_path / "unmounted", path):
        with pytest.raises(InputError, match="there is no folder"):
            read_state(folder / "state", "state", most=9)
    with pytest.raises(InputError, match="Is a directory"):
        read_state(tmp_path, "state", most=9)
