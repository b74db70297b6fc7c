"""Whatever the quick reading of bundles tells an auditor, the complete check of each leaf tells."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions import decisions
from logsim import GATEWAY_SIGNER, ORIGIN
from muniment.audit import check
from muniment.audit.check import Examined, LeafRules, ServedBundle, examine
from muniment.audit.events import EVENT
from muniment.records.forms import Forms
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.tlog.encoding import frame
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.tiles import ENTRIES, Tile

LEAVES = 48
BITS = (
    *(b'"', b"\\", b"\n", b"\0", b"\x1f", b"\x7f", b"\xc3", b"\xff", b"\xc3\xbc", b" ", b"{", b"}"),
    *(b"0", b"-", b"-0", b".", b"1e5", b"1.0", b"0.000001", b"99999999999999999", b"true", b"null"),
    *(b"[]", b'["a","b","c"]', b'"v":1', b',"kept":"log"', b"decision", b'"time":1', b"muniment"),
)


@cache
def leaves() -> list[bytes]:
    """Two batches, a manifest behind each."""
    records = decisions(LEAVES - 2, producer=GATEWAY_SIGNER.vkey.name)
    first = build_batch(ORIGIN, GATEWAY_SIGNER, "s", 0, NO_PREVIOUS, records[:30])
    second = build_batch(ORIGIN, GATEWAY_SIGNER, "s", 30, first.leaf_hashes[-1], records[30:])
    return [one for batch in (first, second) for one in (*batch.records, batch.manifest_note)]


@cache
def learned() -> Forms:
    forms = Forms()
    look(leaves(), forms)
    assert None not in forms.read(leaves()[:30])
    return forms


def look(entries: list[bytes], forms: Forms | None) -> Examined:
    tile = Tile(ENTRIES, 3, len(entries))
    bundle = ServedBundle(tile, frame(entries), b"".join(leaf_hashes(entries)))
    rules = LeafRules(ORIGIN, (str(GATEWAY_SIGNER.vkey),))
    return examine([bundle], [], rules, forms=forms)


def in_order(found: Examined) -> Examined:
    """The same with the events of each partition in one order: their own is that of the reading."""
    parts = [sorted(EVENT.iter_unpack(part)) for part in found.relations]
    return found._replace(relations=tuple(map(repr, parts)))  # type: ignore[arg-type]


@settings(max_examples=300)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, LEAVES - 1),
            st.floats(0, 1),
            st.integers(0, 3),
            st.sampled_from(BITS),
        ),
        max_size=3,
    )
)
def test_what_is_corrupted_is_told_as_by_the_complete_check(
    changes: list[tuple[int, float, int, bytes]],
) -> None:
    entries = list(leaves())
    for at, where, gone, bit in changes:
        begin = int(where * len(entries[at]))
        entries[at] = entries[at][:begin] + bit + entries[at][begin + gone :]
    quick = look(entries, learned())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "read_plain", lambda *_: None)
        complete = look(entries, None)
    assert in_order(quick) == in_order(complete)
    assert changes or not quick.findings
