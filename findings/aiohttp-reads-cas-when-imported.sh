#!/usr/bin/env bash
# Importing aiohttp reads all CAs of the machine, twice, in a process that asks nobody, too.
#
# Packages: aiohttp 3.14.5, certifi 2026.10.18 (PyPI).
# Seen: `import aiohttp.web` makes two TLS contexts for aiohttp's client and loads the CAs into each,
#   some 20 ms of processor time a context. Whom a client believes by default is settled then:
#   SSL_CERT_FILE is not heard when it is set after the import and before the first request.
# Not expected because: Python reads CAs when a context is made, and a module makes none of its own;
#   a server without TLS needs no CA at all.
# For users: set SSL_CERT_FILE before anything imports aiohttp, or give sessions or requests a context
#   of your own. Where the start of a process counts, import aiohttp where it is used.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5 certifi==2026.10.18
bundle=$("$folder/venv/bin/python" -c 'import certifi; print(certifi.where())')
SSL_CERT_FILE="$bundle" SSL_CERT_DIR="$folder/none" "$folder/venv/bin/python" - <<'PY'
import os
import ssl
import sys
import time

read = []
load = ssl.SSLContext.set_default_verify_paths


def noted(context):
    began = time.process_time()
    load(context)
    read.append((time.process_time() - began) * 1000)


ssl.SSLContext.set_default_verify_paths = noted
began = time.process_time()
import aiohttp.web

took = (time.process_time() - began) * 1000
ssl.SSLContext.set_default_verify_paths = load
os.environ["SSL_CERT_FILE"] = "/dev/null"
own = ssl.create_default_context().cert_store_stats()["x509"]
theirs = aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"]
print(f"imported aiohttp.web in {took:.0f} ms, of which CAs {sum(read):.0f} ms, read {len(read)} times")
print(f"after SSL_CERT_FILE=/dev/null: a new context believes {own} CAs, aiohttp's client {theirs}")
sys.exit(not (len(read) == 2 and own == 0 and theirs > 100))
PY
