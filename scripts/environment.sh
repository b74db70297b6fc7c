# Sourced by the scripts beside it: makes a virtual environment from a lock file, once per lock.
#
#   environment NAME LOCK…   creates .venv/NAME, installs exactly what the LOCKs pin, then this
#                            checkout (editable, compiled), and sets $bin to its bin directory.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

environment() {
  local name=$1 venv="$root/.venv/$1" python=${PYTHON:-python3} stamp lock requirements=()
  shift
  for lock in "$@"; do requirements+=(--requirement "$root/$lock"); done
  bin="$venv/bin"
  command -v "$python" >/dev/null || { echo "needs Python 3.11 or newer: $python not found" >&2; exit 1; }
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Set PYTHON to another one." >&2
    exit 1
  }
  stamp=$(cd "$root" && cat "$@" pyproject.toml | "$python" -c \
    'import hashlib, sys; print(sys.version, hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
  if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "making the environment .venv/$name from $* (once; it takes a minute)" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
      echo "could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
      exit 1
    }
    "$bin/pip" install --quiet --disable-pip-version-check --require-hashes "${requirements[@]}"
    # The build backend is pinned in the lock like everything else, so nothing is fetched here.
    "$bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
      --editable "$root"
    echo "$stamp" >"$venv/stamp"
  fi
  # As an installed package is: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE), each
  # process would compile all that it imports, which is a third of a service's start.
  (cd "$root" && "$bin/python" -m compileall -qq client service log witness) || true
}
