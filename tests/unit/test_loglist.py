"""C2SP tlog-list: the spec's example, its rules, and the public network's lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.encoding import FormatError
from muniment.tlog.loglist import ListedLog, format_log_list, parse_log_list
from signing import log_mldsa44, log_signer

FOO, BAR = log_signer("tlog.foo.org").vkey, log_signer("bar.org/tlog").vkey
EXAMPLE = f"""#
# List:      10qps-100klogs
# Revision:  123
#
logs/v0

# 1st list item -- foo's log
vkey {FOO}
qpd 86400
contact https://tlog.foo.org/contact

# 2nd list item -- bar's log
vkey {BAR}
origin something-not-equal-to-vkey-keyname
    \tqpd 24
    \tcontact sysadmin (at) bar.org
"""
ENTRY = f"vkey {FOO}\nqpd 5\ncontact a\n"


def test_the_spec_s_example() -> None:
    logs = parse_log_list(EXAMPLE.encode())
    assert logs == (
        ListedLog(FOO, "tlog.foo.org", 86_400, "https://tlog.foo.org/contact"),
        ListedLog(BAR, "something-not-equal-to-vkey-keyname", 24, "sysadmin (at) bar.org"),
    )
    assert parse_log_list(format_log_list(logs)) == logs
    assert parse_log_list(b"# none yet\nlogs/v0\n") == ()
    assert parse_log_list(f"logs/v0\n{ENTRY.rstrip()}".encode())  # lines are separated, not ended


def test_one_key_may_sign_several_logs_and_keys_may_be_of_any_type() -> None:
    text = f"logs/v0\nvkey {FOO}\norigin a b\nqpd 1\ncontact x\nvkey {FOO}\nqpd 1\ncontact x\n"
    assert [log.origin for log in parse_log_list(text.encode())] == ["a b", "tlog.foo.org"]
    ca = log_mldsa44("oid/1.2.3").vkey
    assert parse_log_list(f"logs/v0\nvkey {ca}\nqpd 1\ncontact x\n".encode())[0].vkey == ca


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no line logs/v0"),
        ("logs/v1\n", "line 1: not logs/v0"),
        (ENTRY, "line 1: not logs/v0"),
        (f"logs/v0\nqpd 5\n{ENTRY}", "line 2: vkey is due"),
        (f"logs/v0\nvkey {FOO}\ncontact a\n", "line 3: origin is due"),
        (f"logs/v0\nvkey {FOO}\nqpd 5\norigin a\n", "line 4: contact is due"),
        (f"logs/v0\nvkey {FOO}\norigin a\ncontact a\n", "line 4: qpd is due"),
        (f"logs/v0\nvkey {FOO}\nqpd 5\n", "the last log is not complete"),
        ("logs/v0\nvkey x\n", "line 2"),
        (f"logs/v0\n{ENTRY}{ENTRY}", "line 7: tlog.foo.org is listed twice"),
        (f"logs/v0\n{ENTRY}tombstone x\n", "line 5: vkey is due"),
        ("logs/v0\n\xff\n", "line 2"),
        *[
            (f"logs/v0\nvkey {FOO}\nqpd {bad}\ncontact a\n", "line 4")
            for bad in ("0", "05", "-1", "1.5", "2147483648", "9" * 40, "five")
        ],
        (f"logs/v0\nvkey {FOO}\nqpd\ncontact a\n", "line 3: qpd without a value"),
    ],
)
def test_what_is_no_list(text: str, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_log_list(text.encode("latin-1"))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        logs = parse_log_list(b"logs/v0\n" + data)
    except FormatError:
        return
    assert parse_log_list(format_log_list(logs)) == logs
