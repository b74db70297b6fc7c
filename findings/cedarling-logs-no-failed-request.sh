#!/usr/bin/env bash
# Cedarling logs nothing of a request that it cannot evaluate, and the same request in a batch it logs.
#
# Package: cedarling_python 2.5.20 (PyPI; the Cedarling of Janssen).
# Seen: with the memory log at TRACE, a request that a policy allows and one that none allows have a Decision entry
#   each. One whose context lacks an attribute of the schema, or has 1.5 or null there, and one whose action the schema
#   does not have, is an exception, and nothing is in the log: no Decision, no System entry. Among the metrics
#   `authz.requests_total` does not count it, only `authz.errors_total` does. The first of these requests as the one
#   item of authorize_unsigned_batch has a Decision entry that says what failed.
# Not expected because: the documentation says that these logs show everything that was attempted, both allowed and
#   denied, and the engine has an entry for just this case, which one of its two calls writes.
# For users: an application whose requests no longer fit the schema of a new policy store is denied everything, and its
#   audit log looks as if nobody had asked. Ask by a batch of one, or record the exception where it is caught, as
#   a decision that could not be evaluated.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check cedarling_python==2.5.20
mkdir -p store/policies
cat >store/metadata.json <<'JSON'
{
  "policy_store_spec_version": 1,
  "cedar_version": "4.4.0",
  "policy_store": {"id": "0123456789abcdef", "name": "Payments", "version": "1.0.0", "created_date": "2026-11-01T00:00:00Z"}
}
JSON
cat >store/schema.cedarschema <<'CEDAR'
namespace Acme {
  entity Agent { trusted: Bool };
  entity Account;
  action "pay" appliesTo { principal: [Agent], resource: [Account], context: { amount: Long } };
}
CEDAR
cat >store/policies/pay.cedar <<'CEDAR'
@id("small-payments")
permit (principal, action == Acme::Action::"pay", resource) when { principal.trusted && context.amount < 100 };
CEDAR
cat >main.py <<'PY'
import pathlib
import sys

from cedarling_python import (
    BatchAuthorizeUnsignedRequest,
    BatchItem,
    BootstrapConfig,
    Cedarling,
    EntityData,
    RequestUnsigned,
    authorize_errors,
)


def entity(type_, id_, **attributes):
    return EntityData.from_dict({"cedar_entity_mapping": {"entity_type": type_, "id": id_}, **attributes})


cedarling = Cedarling(
    BootstrapConfig(
        {
            "CEDARLING_APPLICATION_NAME": "payments",
            "CEDARLING_POLICY_STORE_LOCAL_FN": str(pathlib.Path("store").resolve()),
            "CEDARLING_JWT_SIG_VALIDATION": "disabled",
            "CEDARLING_JWT_STATUS_VALIDATION": "disabled",
            "CEDARLING_METRICS_COLLECTION": "enabled",
            "CEDARLING_LOG_TYPE": "memory",
            "CEDARLING_LOG_TTL": 600,
            "CEDARLING_LOG_LEVEL": "TRACE",
        }
    )
)
agent, account = entity("Acme::Agent", "helper", trusted=True), entity("Acme::Account", "7")


def pop_logs():
    return [(entry["log_kind"], entry.get("decision")) for entry in cedarling.pop_logs()]


def ask(context, action="pay"):
    action = f'Acme::Action::"{action}"'
    request = RequestUnsigned(action=action, resource=account, context=context, principal=agent)
    try:
        return cedarling.authorize_unsigned(request).is_allowed()
    except authorize_errors.AuthorizeError as error:
        return type(error).__name__


pop_logs()
cedarling.drain_metrics()
for context, action, wanted, entries in (
    ({"amount": 50}, "pay", True, ["ALLOW"]),
    ({"amount": 500}, "pay", False, ["DENY"]),
    ({}, "pay", "BuildContextError", []),
    ({"amount": 1.5}, "pay", "BuildContextError", []),
    ({"amount": None}, "pay", "BuildContextError", []),
    ({"amount": 50}, "refund", "BuildContextError", []),
):
    seen, logs = ask(context, action), pop_logs()
    decisions = [decision for kind, decision in logs if kind == "Decision"]
    print(f"{action} {context}: {seen}; log: {logs}")
    if seen != wanted or decisions != entries or (not entries and logs):
        sys.exit(f"changed: expected {wanted}, and {entries} in the log")
counted = cedarling.drain_metrics().operational_stats
print({name: counted[name] for name in ("authz.requests_total", "authz.errors_total")})
if (counted["authz.requests_total"], counted["authz.errors_total"]) != (2, 4):
    sys.exit("changed: the metrics count otherwise")
item = BatchItem(account, 'Acme::Action::"pay"', {})
[result] = cedarling.authorize_unsigned_batch(BatchAuthorizeUnsignedRequest(items=[item], principal=agent)).results
logged = [entry for entry in cedarling.pop_logs() if entry["log_kind"] == "Decision"]
print(f"the third as a batch of one: {result.error.category}; log: {[entry['msg'] for entry in logged]}")
if result.is_ok() or len(logged) != 1 or "failed setup" not in logged[0]["msg"]:
    sys.exit("changed: a batch has no entry of it")
PY
venv/bin/python main.py
