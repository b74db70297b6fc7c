"""The cache of bytes: how much it holds, and what goes first."""

from muniment.local.bytecache import ByteCache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: ByteCache[str, bytes] = ByteCache(10)
    for key in "abc":
        cache.put(key, key.encode() * 3)
    assert cache.get("a") == b"aaa"
    cache.put("d", b"dddd")
    assert [cache.get(key) for key in "abcd"] == [b"aaa", None, b"ccc", b"dddd"]
    assert cache.size == 10


def test_a_value_takes_the_place_of_an_earlier_one() -> None:
    cache: ByteCache[str, bytes] = ByteCache(10)
    cache.put("a", b"a" * 8)
    cache.put("a", b"b" * 9)
    assert (cache.get("a"), cache.size) == (b"b" * 9, 9)
    cache.put("a", b"c" * 11)  # there is no room for it at all
    assert (cache.get("a"), cache.size) == (None, 0)
