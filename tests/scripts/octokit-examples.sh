#!/usr/bin/env bash
# Fetches the example payloads of GitHub's webhooks, and prints the folder that they are in:
#
#     HEDDLE_OCTOKIT_EXAMPLES="$(tests/scripts/octokit-examples.sh)" cargo test --test octokit
#
# The package is fetched once, pinned by version and by checksum; nothing of it is run.
set -euo pipefail

version=7.6.1
sha256=89e6cb1c6345d32e3dd775617fa54effbdc26c859e514898d7728e95e9738280
folder="${XDG_CACHE_HOME:-$HOME/.cache}/heddle/octokit-webhooks-examples-$version"

if [ ! -d "$folder" ]; then
    mkdir -p "$(dirname "$folder")"
    work="$(mktemp -d "$folder.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    archive="$(cd "$work" && npm pack --silent --ignore-scripts "@octokit/webhooks-examples@$version")"
    echo "$sha256  $work/$archive" | sha256sum --check --quiet - >&2
    tar -xzf "$work/$archive" -C "$work"
    # By rename, so that half a package is never taken for one.
    mv -T "$work/package" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
printf '%s\n' "$folder"
