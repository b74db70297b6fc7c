#!/usr/bin/env bash
# Ordinary JSON in a request's context makes cedarpy answer neither allow nor deny.
#
# Packages: cedarpy 4.12.2 (PyPI).
# Seen: with the policy `permit(principal, action, resource);`, which allows everything and does not
#   look at the context, a context member of 1.5, of null or of 2^63 gives `Decision.NoDecision`,
#   `allowed` False, no reasons, and the cause only in `diagnostics.errors`. No exception is raised.
#   For 1.5 and 2^63 the cause reads "data did not match any variant of untagged enum
#   RawCedarValueJson" and names no member. 2^53+1 is allowed: Cedar's integers have 64 bits.
# Not expected because: Cedar's semantics know two decisions, and a request that cannot be read is
#   expected to raise. Prices, scores and absent values are everyday arguments of a tool.
# For users: who logs `"allow" if result.allowed else "deny"` records that a policy said no where no
#   policy was ever asked. Log the third value as "could not be evaluated", with the errors, and turn
#   decimals into Cedar's `decimal` extension (or text) before asking.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check cedarpy==4.12.2
"$folder/venv/bin/python" - <<'PY'
import sys

import cedarpy

expected = {
    "{}": ("Allow", True, ""),
    "{'n': 9007199254740993}": ("Allow", True, ""),
    "{'n': 1.5}": ("NoDecision", False, "RawCedarValueJson"),
    "{'n': None}": ("NoDecision", False, "null"),
    "{'n': 9223372036854775808}": ("NoDecision", False, "RawCedarValueJson"),
}
for context, (decision, allowed, cause) in expected.items():
    request = {
        "principal": 'Agent::"helper"',
        "action": 'Action::"pay"',
        "resource": 'Tool::"bank"',
        "context": eval(context),
    }
    result = cedarpy.is_authorized(request, "permit(principal, action, resource);", [])
    errors = list(result.diagnostics.errors)
    print(context, result.decision.value, "allowed:", result.allowed, errors)
    if (result.decision.value, result.allowed) != (decision, allowed):
        sys.exit(f"changed: expected {decision}")
    if bool(errors) != bool(cause) or not all(cause in error for error in errors):
        sys.exit("changed: the cause is told otherwise")
PY
