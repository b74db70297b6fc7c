"""The example of C2SP tlog-policy, with keys, and checkpoints cosigned under it."""

from muniment.tlog.policy import Policy, parse_policy
from signing import log_signer, witness

LOG = f"log {log_signer().vkey}\n"
W = {name: witness(f"{name.lower()}.example") for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")}
WITNESSES = {name: f"witness {name} {w.vkey}\n" for name, w in W.items()}
EXAMPLE = f"""{LOG}
{WITNESSES["X1"]}{WITNESSES["X2"]}{WITNESSES["X3"]}group X-witnesses 2 X1 X2 X3

{WITNESSES["Y1"]}{WITNESSES["Y2"]}{WITNESSES["Y3"]}group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
POLICY = parse_policy(EXAMPLE.encode())
A, B, C = WITNESSES["X1"], WITNESSES["X2"], WITNESSES["X3"]


def parse(text: str) -> Policy:
    return parse_policy(text.encode("utf-8", "surrogateescape"))
