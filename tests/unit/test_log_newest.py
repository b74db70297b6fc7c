"""Keys that wait in memory for their table: how many, and what of them a start reads again."""

from hashlib import sha256

from muniment_log.storage.newest import Newest

MOST = 64


def key(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def test_as_many_wait_when_most_are_gone_soon() -> None:
    newest = Newest(0, 0)
    table: dict[bytes, int] = {}
    for number in range(1, 50 * MOST):
        move = newest.due(1, MOST)
        if move is not None:
            table.update(zip(move.keys, move.ids, strict=True))
            newest.moved(move)
        newest.add([(key(number), number)])
        newest.drop([key(number - 10)])
        # A start has to read the keys behind the mark.
        assert number - newest.mark <= 3 * MOST
        known = newest.find([key(at) for at in range(number + 1)])
        assert known.keys() <= {key(at) for at in range(number - 9, number + 1)}
        assert all(
            known.get(key(at), table.get(key(at))) == at
            for at in range(max(1, number - 9), number + 1)
        )
