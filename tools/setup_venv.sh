#!/usr/bin/env bash
# Makes a Python environment from a requirements file (every line pinned by hash) and prints its folder.
#
#   "$(tools/setup_venv.sh tools/requirements-tests.txt)/bin/python" -m pytest tests
#
# The environment lies in the cache, keyed by the file's content and by the Python that made it. It is complete once it
# holds the file `.complete`; one that was interrupted is made anew.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  '') sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
requirements=$1
name=$(basename "$requirements" .txt)
name=venv-${name#requirements-}

# The pinned numpy wants Python 3.11: what is called python3 (a pyenv's, say) may be older than Debian's.
python=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup_venv: needs Python 3.11 or newer" >&2
  exit 1
fi

cache=${EVENKEEL_CACHE:-${HOME:?HOME is not set: name a cache folder in EVENKEEL_CACHE}/.cache/evenkeel}
build=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)')
key=$({ sed 's/[[:space:]]*#.*//;/^[[:space:]]*$/d' "$requirements"; echo "$build"; } | sha256sum | cut -c1-8)
target=$cache/$name-$key
if [ ! -e "$target/.complete" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/.$name-$key.lock"
  flock 9
  if [ ! -e "$target/.complete" ]; then # else another process was first
    echo "making the Python environment $name in the cache" >&2
    rm -rf "$target"
    "$python" -m venv "$target"
    "$target/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary=:all: \
      --no-cache-dir --requirement "$requirements" >&2
    touch "$target/.complete"
  fi
fi
echo "$target"
