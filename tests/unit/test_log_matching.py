"""Which record names an addendum: what a log takes along with a batch, and what it refuses."""

from typing import Any

import pytest

from muniment.records.canonical import encode_canonical
from muniment.records.codec import checking
from muniment.records.forms import Forms
from muniment.tlog.encoding import in_one_go
from muniment_log.core.addenda import Addendum, BadAddendumError, Sent
from muniment_log.core.matching import LEAST_PACKED, MOST_PACKED, AddendaSection, arriving, matching
from muniment_log.core.naming import digests_of, subject_key
from packing import content, digest_of, match, record


def test_each_addendum_is_taken_with_what_finds_it_again() -> None:
    one, two = content(1), content(2)
    plain = record(execution="run-1")
    labelled = record(
        two, execution="run-2", artifact={"governance": {"area": "eu", "domain": "hr"}}
    )
    sent = match([plain, record(one), labelled], [two, one])
    key = subject_key("user", "alice")
    assert sent.addenda == [
        Addendum(digest_of(two), two, key, "run-2", ("area=eu", "domain=hr")),
        Addendum(digest_of(one), one, key, None, ()),
    ]
    assert sent.expected == {}


def behind(addenda: list[bytes]) -> AddendaSection:
    """Addenda as they come behind a batch."""
    return in_one_go(
        arriving(b"".join(len(one).to_bytes(4, "big") + one for one in addenda)),
    )


def usual(number: int, *withheld: bytes, **members: Any) -> bytes:
    """A decision of the form that most have."""
    subject = {"type": "user", "id": f"subject {number % 3}"}
    request = {"action": {"name": "read"}, "resource": {"type": "document", "id": "1"}}
    return record(*withheld, id=f"id-{number}", request=request | {"subject": subject}, **members)


def test_what_a_batch_of_usual_decisions_withholds_stays_together() -> None:
    addenda = [content(n, "x" * n) for n in range(LEAST_PACKED)]
    runs: list[dict[str, Any]] = [{"execution": f"run-{n}"} if n % 2 else {} for n in range(99)]
    records = [usual(n, one, **runs[n]) for n, one in enumerate(addenda)]
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    came, one_by_one = behind(addenda), match(records, addenda)
    sent = in_one_go(matching(records, came, b"".join(records), told))
    assert sent.pack is not None
    assert one_by_one.pack is None
    assert sent.addenda == one_by_one.addenda
    assert (sent.digests, sent.size) == (one_by_one.digests, one_by_one.size)
    assert (sent.number, sent.expected) == (one_by_one.number, one_by_one.expected) == (16, {})


@pytest.mark.parametrize(
    "what", ["order", "fewer", "two of one", "plain", "long", "kept and missing"]
)
def test_what_is_not_one_of_each_is_taken_one_by_one(what: str) -> None:
    text = "x" * (MOST_PACKED if what == "long" else 10)
    addenda = [content(n, text) for n in range(LEAST_PACKED + 1)]
    records = [usual(n, one) for n, one in enumerate(addenda)]
    if what == "order":
        addenda.reverse()
    elif what == "fewer":
        del addenda[3]
    elif what == "two of one":
        records[3:5] = [usual(3, addenda[3], addenda[4])]
    elif what == "plain":
        records.append(usual(99))
    elif what == "kept and missing":
        records[3] = usual(3, addenda.pop(3), kept="log")
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    sent = in_one_go(matching(records, behind(addenda), b"".join(records), told))
    one_by_one = match(records, addenda)
    assert sent.pack is None
    assert (sent.addenda, sent.expected) == (one_by_one.addenda, one_by_one.expected)


@pytest.mark.parametrize("at", [0, 40, 79])
def test_one_record_whose_log_keeps_something_is_found_among_usual_ones(at: int) -> None:
    forms, addendum = Forms(withholding=True), content(1)
    records = [usual(n) for n in range(80)]
    in_one_go(checking(records, "gw.example/x", forms=forms))
    told = in_one_go(checking(records, "gw.example/x", forms=forms))
    assert told.without == len(records)
    assert in_one_go(matching(records, [], b"".join(records), told)) is None
    records[at] = usual(at, addendum, kept="log")
    told = in_one_go(checking(records, "gw.example/x", forms=forms))
    sent = in_one_go(matching(records, [], b"".join(records), told))
    assert sent.expected == {digest_of(addendum): at}


def test_an_addendum_that_comes_twice_behind_a_batch_is_refused() -> None:
    addenda = [content(1)] * LEAST_PACKED
    records = [usual(n, one) for n, one in enumerate(addenda)]
    told = in_one_go(checking(records, "gw.example/x", forms=Forms(withholding=True)))
    with pytest.raises(BadAddendumError, match="addendum 1: came before"):
        in_one_go(matching(records, behind(addenda), b"".join(records), told))


def test_an_outcome_names_the_commitments_of_its_run() -> None:
    data = content(1)
    outcome = encode_canonical(
        {
            "v": 1,
            "kind": "outcome",
            "id": "1",
            "time": 1,
            "producer": "gw.example/x",
            "execution": "run-1",
            "status": "completed",
            "outputs": {"result": f"sha256:{digest_of(data).hex()}"},
        }
    )
    assert digests_of(outcome) == [digest_of(data)]
    sent = match([outcome], [data])
    assert sent.addenda[0].subject is None
    assert sent.addenda[0].execution == "run-1"


def test_what_no_record_names_is_refused_with_its_number() -> None:
    one, two = content(1), content(2)
    with pytest.raises(BadAddendumError, match="addendum 1: no record of this request names"):
        match([record(one)], [one, two])
    with pytest.raises(BadAddendumError, match="addendum 1: came before"):
        match([record(one)], [one, one])
    with pytest.raises(BadAddendumError, match="addendum 0") as caught:
        match([record()], [one])
    assert caught.value.number == 0


def test_records_without_addenda_are_not_read() -> None:
    assert match([b"not even JSON"], []) is None
    assert match([record(content(1))], []) is None


def test_a_record_that_says_that_the_log_keeps_them_expects_them() -> None:
    one, two = content(1), content(2)
    records = [record(one), record(two, kept="log")]
    sent = match(records, [one])
    assert sent.expected == {digest_of(two): 1}
    assert match(records, [two]) == Sent(
        [Addendum(digest_of(two), two, subject_key("user", "alice"), None, ())],
        {},
    )


def test_a_long_addendum_is_hashed_in_steps() -> None:
    data = content(1, "x" * (5 << 20))
    steps = matching([record(data)], [data], record(data))
    assert sum(1 for _ in steps) >= 5
    assert sum(1 for _ in arriving(len(data).to_bytes(4, "big") + data)) >= 5
    assert behind([data]).digests == [digest_of(data)]
    sent = match([record(data)], [data])
    assert sent.addenda[0].digest == digest_of(data)


def test_a_subject_has_one_key_and_no_other_subject_has_it() -> None:
    assert subject_key("a", "bc") != subject_key("ab", "c")
