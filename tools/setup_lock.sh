#!/usr/bin/env bash
# Pins tools/requirements-*.in anew: writes requirements-*.txt with the newest versions that fit and the hashes of their files.
#
#   tools/setup_lock.sh            all lists
#   tools/setup_lock.sh tests      one of them
#
# Run it with Python 3.11, the oldest that has to work.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install pip-tools==7.6.2
if [ $# -eq 0 ]; then set -- models tests genai; fi
for list in "$@"; do
  "$work/venv/bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
    --output-file "$work/$list.txt" "requirements-$list.in"
  { echo "# Written by tools/setup_lock.sh from requirements-$list.in."; cat "$work/$list.txt"; } >"$work/out"
  mv "$work/out" "requirements-$list.txt"
  echo "requirements-$list.txt: $(grep -c == "requirements-$list.txt") packages" >&2
done
