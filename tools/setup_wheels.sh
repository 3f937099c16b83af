#!/usr/bin/env bash
# Downloads wheels by name and hash, unpacks them into the cache and prints the folder they lie in.
#
#   tools/setup_wheels.sh NAME REQUIREMENTS [GLOB...]
#
# NAME          start of the folder's name in the cache
# REQUIREMENTS  a pip requirements file in which every line carries a sha256; dependencies are not followed
# GLOB          files to keep, as paths inside the wheels (default: all)
#
# Nothing is installed and no code of a wheel is run. The folder is keyed by what decides its content (the requirements
# and the globs), is filled under another name and renamed when complete, and is never changed afterwards: a second call
# costs milliseconds, and a call that was interrupted leaves nothing behind that a later one would take for complete.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
if [ $# -lt 2 ]; then usage >&2; exit 2; fi
name=$1 requirements=$2
shift 2

cache=${EVENKEEL_CACHE:-${HOME:?HOME is not set: name a cache folder in EVENKEEL_CACHE}/.cache/evenkeel}
# Comments and blank lines do not count: rewording one must not cost a download.
key=$({ sed 's/[[:space:]]*#.*//;/^[[:space:]]*$/d' "$requirements"; printf '%s\n' "$@"; } | sha256sum | cut -c1-8)
target=$cache/$name-$key
if [ -d "$target" ]; then
  echo "$target"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/.$name-$key.lock"
flock 9
if [ -d "$target" ]; then # another process was first
  echo "$target"
  exit 0
fi

work=$(mktemp -d "$cache/.tmp-$name-XXXXXX")
trap 'rm -rf "$work"' EXIT
# A machine's python3 may lack pip while the venv module is there (Debian splits them).
python=python3
if ! "$python" -m pip --version >/dev/null 2>&1; then
  python3 -m venv "$work/venv"
  python=$work/venv/bin/python
fi

echo "fetching $name ($(grep -c -- '--hash' "$requirements") wheel(s) by hash) into the cache" >&2
# Platform and Python are pinned so that the same file is taken under every Python of the machine.
"$python" -m pip --quiet --disable-pip-version-check download --no-deps --require-hashes --only-binary=:all: \
  --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --platform manylinux1_x86_64 --platform any \
  --dest "$work/wheels" --requirement "$requirements" >&2

mkdir "$work/tree"
python3 - "$work/wheels" "$work/tree" "$@" <<'PY'
import fnmatch
import pathlib
import sys
import zipfile

wheels, tree, *globs = sys.argv[1:]
for wheel in sorted(pathlib.Path(wheels).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if not globs or any(fnmatch.fnmatch(n, g) for g in globs)]
        if not names:
            sys.exit(f"{wheel.name}: holds nothing that was asked for")
        for name in names:
            archive.extract(name, tree)  # refuses to leave the folder
            mode = archive.getinfo(name).external_attr >> 16
            if mode & 0o111:
                (pathlib.Path(tree) / name).chmod(0o755)
PY
mv -T "$work/tree" "$target"
echo "$target"
