#!/usr/bin/env bash
# Two clients of PGlite's socket server are one session: both hold the same exclusive lock.
#
# Packages: @electric-sql/pglite 0.5.14, @electric-sql/pglite-socket 0.2.17 (npm), asyncpg 0.32.0 (PyPI).
# Seen: two asyncpg connections are told the same pg_backend_pid(); pg_try_advisory_lock(7) is true for
#   the first and true for the second, though the first still holds it; a setting that one makes
#   (`SET lock_timeout`) is the other's too.
# Not expected because: the server speaks PostgreSQL's protocol and takes ten connections by an option.
#   Its manual speaks of a multiplexer with which "not all use cases" work; that a lock is granted
#   twice, rather than refused as unsupported, is not what that prepares for.
# For users: a cluster's leader election by advisory lock elects everybody, and its test passes. A
#   test on it proves nothing about locks, isolation or failover: use a real PostgreSQL there.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, npm or Node 20.
set -euo pipefail
for tool in python3 npm node; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
[ "$(node -p 'process.versions.node.split(".")[0] >= 20')" = true ] || { echo "skipped: needs Node 20"; exit 77; }
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check asyncpg==0.32.0
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-fund --no-audit @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17
cat >server.mjs <<'JS'
import { writeFileSync, renameSync } from 'node:fs'
import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
const db = await PGlite.create()
const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: 0, maxConnections: 10 })
server.addEventListener('listening', (event) => {
  writeFileSync('port.new', String(event.detail.port))
  renameSync('port.new', 'port')
})
await server.start()
JS
node server.mjs >server.log 2>&1 &
server=$!
for _ in $(seq 150); do [ -s port ] && break; sleep 0.2; done
[ -s port ] || { cat server.log; echo "the server did not start"; exit 1; }
timeout 60 venv/bin/python - "$(cat port)" <<'PY'
import asyncio
import os
import sys

import asyncpg


async def main():
    where = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "postgres", "database": "postgres", "ssl": False}
    one, two = await asyncpg.connect(**where), await asyncpg.connect(**where)
    locks = [await each.fetchval("select pg_try_advisory_lock(7)") for each in (one, two)]
    pids = {await each.fetchval("select pg_backend_pid()") for each in (one, two)}
    await one.execute("set lock_timeout = 1234")
    timeout = await two.fetchval("show lock_timeout")
    print("locks granted:", locks, "- backends:", len(pids), "- the other's lock_timeout:", timeout)
    if locks != [True, True] or len(pids) != 1 or timeout != "1234ms":
        sys.stdout.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # Without the closing talk, which is not what is tried here.


asyncio.run(main())
PY
