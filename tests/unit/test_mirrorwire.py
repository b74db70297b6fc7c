"""C2SP tlog-mirror bodies: the layout byte by byte, each rule on their form, any cut, any bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.encoding import MAX_ENTRY, MAX_SIZE, FormatError
from muniment.tlog.mirrorwire import (
    INFO_CONTENT_TYPE,
    MAX_INFO_SIZE,
    MAX_PACKAGE_PROOF,
    MAX_PACKAGES,
    MAX_TICKET,
    UPLOAD_CONTENT_TYPE,
    MirrorInfo,
    Package,
    PackageRange,
    Upload,
    UploadReader,
    encode_package,
    package_ranges,
    parse_mirror_info,
)
from muniment.tlog.proofs import is_subtree
from muniment.tlog.tiles import check_bundle

HASH = bytes(range(32))


def framed(*entries: bytes) -> bytes:
    """Entries as the spec says, transcribed: each with a big-endian uint16 length before it."""
    return b"".join(bytes((len(entry) >> 8, len(entry) & 255)) + entry for entry in entries)


def read(body: bytes, *cuts: int) -> tuple[Upload | None, list[Package], bool]:
    """What a reader finds in a body that comes in pieces, cut at these offsets."""
    reader, upload, packages = UploadReader(), None, list[Package]()
    marks = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(marks):
        reader.feed(body[start:end])
        if upload is None:
            upload = reader.header()
        while upload is not None and (package := reader.package()) is not None:
            packages.append(package)
    return upload, packages, reader.complete


def test_the_layout_of_a_request_is_the_spec_s() -> None:
    body = bytes.fromhex(
        "0003" "612f62"  # log_origin_size, log_origin
        "0000000000000001" "0000000000000003"  # upload_start, upload_end
        "0002" "5449"  # ticket_size, ticket
        "0002" "6869" "0000" "02"  # two entries, the second one empty; num_hashes
    ) + HASH + HASH  # fmt: skip
    upload = Upload("a/b", 1, 3, b"TI")
    assert upload.encode() + encode_package(framed(b"hi", b""), [HASH, HASH]) == body
    package = Package(PackageRange(0, 1, 3), (b"hi", b""), framed(b"hi", b""), (HASH, HASH))
    assert read(body) == (upload, [package], True)


def test_the_names_of_types_and_limits_are_the_spec_s() -> None:
    assert UPLOAD_CONTENT_TYPE == "application/octet-stream"
    assert INFO_CONTENT_TYPE == "text/x.tlog.mirror-info"
    assert (MAX_PACKAGES, MAX_PACKAGE_PROOF, MAX_TICKET) == (32, 63, 65_535)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_packages_are_the_canonical_sequence(start: int, more: int) -> None:
    end = start + more
    rounded_start, rounded_end = start // 256 * 256, -(-end // 256) * 256
    count = (rounded_end - rounded_start) // 256 if start < end else 0
    assert list(package_ranges(start, end)) == [
        (
            rounded_start + i * 256,
            max(start, rounded_start + i * 256),
            min(end, rounded_start + (i + 1) * 256),
        )
        for i in range(count)
    ]
    for place in package_ranges(start, end):
        assert is_subtree(place.base, place.end)
        assert place.bundle.end == place.end
        assert place.bundle.start == place.base


def test_no_packages_go_backwards() -> None:
    for start, end in ((1, 0), (-1, 3)):
        with pytest.raises(ValueError, match="no entries are"):
            package_ranges(start, end)
        with pytest.raises(ValueError, match="no upload is"):
            Upload("a", start, end).encode()


def test_an_upload_of_nothing_is_complete_with_its_header() -> None:
    upload = Upload("a", 7, 7)
    assert read(upload.encode()) == (upload, [], True)


def test_an_upload_must_not_start_after_its_end() -> None:
    body = framed(b"a") + (2).to_bytes(8, "big") + (1).to_bytes(8, "big") + b"\0\0"
    with pytest.raises(FormatError, match="starts at 2, after its end 1"):
        read(body)


def test_a_size_beyond_what_trees_have_is_refused() -> None:
    body = framed(b"a") + bytes(8) + (MAX_SIZE + 1).to_bytes(8, "big") + b"\0\0"
    with pytest.raises(FormatError, match="more than"):
        read(body)
    with pytest.raises(ValueError, match="no upload is"):
        Upload("a", 0, MAX_SIZE + 1).encode()


def test_a_proof_has_at_most_63_hashes() -> None:
    most = encode_package(framed(b""), [HASH] * 63)
    head = Upload("a", 0, 1).encode()
    assert len(read(head + most)[1][0].proof) == 63
    with pytest.raises(FormatError, match="a proof of 64 hashes"):
        read(head + framed(b"") + b"\x40" + HASH * 64)
    with pytest.raises(ValueError, match="63 hashes"):
        encode_package(framed(b""), [HASH] * 64)
    with pytest.raises(ValueError, match="32 bytes"):
        encode_package(framed(b""), [HASH[1:]])


def test_the_longest_package_is_read() -> None:
    entries = [bytes(MAX_ENTRY)] * 256
    body = encode_package(framed(*entries), [HASH] * 63)
    [package] = read(Upload("a", 0, 256).encode() + body)[1]
    assert package.entries == tuple(entries)


@pytest.mark.parametrize("long", [{"origin": "a" * 65_536}, {"ticket": bytes(65_536)}])
def test_what_a_uint16_cannot_say_is_not_sent(long: dict[str, str]) -> None:
    fields: dict[str, object] = {"origin": "a", "start": 0, "end": 0, **long}
    with pytest.raises(ValueError, match="longer than"):
        Upload(**fields).encode()  # type: ignore[arg-type]


def test_an_origin_that_is_not_utf_8_is_read_and_is_no_log_s() -> None:
    body = framed(b"a\xff") + bytes(16) + b"\0\0"
    upload, _, _ = read(body)
    assert upload.encode() == body
    with pytest.raises(UnicodeEncodeError):
        upload.origin.encode("utf-8")


uploads = st.builds(
    lambda origin, start, sizes, ticket: (
        Upload(origin, start, start + len(sizes), ticket),
        [bytes([at % 256]) * size for at, size in enumerate(sizes)],
    ),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.integers(0, 600),
    st.lists(st.integers(0, 3), max_size=600),
    st.binary(max_size=40),
)


@given(uploads, st.lists(st.integers(0, 3000), max_size=6), st.integers(0, 63))
def test_what_is_written_is_read_wherever_it_is_cut(
    sent: tuple[Upload, list[bytes]], cuts: list[int], hashes: int
) -> None:
    upload, entries = sent
    parts = [
        entries[place.start - upload.start : place.end - upload.start] for place in upload.packages
    ]
    packages = [encode_package(framed(*part), [HASH] * hashes) for part in parts]
    body = upload.encode() + b"".join(packages)
    found, seen, complete = read(body, *(cut for cut in cuts if cut <= len(body)))
    assert (found, complete) == (upload, True)
    assert [package.place for package in seen] == list(upload.packages)
    assert [list(package.entries) for package in seen] == parts
    assert [encode_package(each.framed, each.proof) for each in seen] == packages
    for package in seen:
        if package.place.start == package.place.base:
            assert check_bundle(package.place.bundle, package.framed) == list(package.entries)


def test_any_beginning_of_a_body_gives_the_packages_that_are_whole() -> None:
    upload = Upload("a", 254, 515, b"t")
    packages = [
        encode_package(framed(*[b"e"] * (place.end - place.start)), [HASH])
        for place in upload.packages
    ]
    ends = [len(upload.encode())]
    for package in packages:
        ends.append(ends[-1] + len(package))
    body = upload.encode() + b"".join(packages)
    for size in range(len(body) + 1):
        found, seen, complete = read(body[:size])
        assert (found is not None) == (size >= ends[0])
        assert len(seen) == sum(size >= end for end in ends[1:])
        assert complete == (size == ends[-1])


@given(st.binary(max_size=300), st.integers(0, 300))
def test_hostile_bytes_are_read_or_refused(body: bytes, cut: int) -> None:
    try:
        whole = read(body)
    except FormatError:
        with pytest.raises(FormatError):
            read(body, min(cut, len(body)))
    else:
        assert read(body, min(cut, len(body))) == whole


def test_mirror_info_is_three_lines() -> None:
    info = MirrorInfo(20852163, 20851712, b"ticket")
    assert info.encode() == b"20852163\n20851712\ndGlja2V0\n"
    assert parse_mirror_info(info.encode()) == info
    assert MirrorInfo(0, 0).encode() == b"0\n0\n\n"
    longest = MirrorInfo(MAX_SIZE, MAX_SIZE, bytes(MAX_TICKET))
    assert len(longest.encode()) == MAX_INFO_SIZE
    assert parse_mirror_info(longest.encode()) == longest
    with pytest.raises(ValueError, match="ticket"):
        MirrorInfo(0, 0, bytes(MAX_TICKET + 1)).encode()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "newline"),
        (b"1\n2\n", "2 lines"),
        (b"1\n2\n\n\n", "4 lines"),
        (b"1\n2\n\r\n", "control"),
        (b"1\n2\ndGlja2V0", "newline"),
        (b"01\n2\n\n", "leading zeros"),
        (b"-1\n2\n\n", "tree size: not a decimal"),
        (b"1\n\n\n", "next entry: not a decimal"),
        (b"1\n2\ndGlja2V\n", "ticket: not base64"),
        (b"1\n2\ndGlja2W=\n", "ticket: not canonical"),
        (b"9223372036854775808\n2\n\n", "more than"),
        (b"1\n2\n" + b"A" * MAX_INFO_SIZE + b"\n", "more than"),
    ],
)
def test_other_spellings_of_mirror_info_are_refused(text: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_mirror_info(text)
