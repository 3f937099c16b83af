#!/usr/bin/env bash
# Configures a preset of CMakePresets.json and builds it: release in build/, the others in build/PRESET/.
#
#   tools/setup_build.sh PRESET [TARGET...]
#
# JOBS sets how many compilers run at once (default: the cores). Configuring is left out where nothing it depends on has changed.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  '') sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
preset=$1
shift
cd "$(dirname "$0")/.."
cache=${EVENKEEL_CACHE:-${HOME:?HOME is not set: name a cache folder in EVENKEEL_CACHE}/.cache/evenkeel}
folder=build
if [ "$preset" != release ]; then folder=build/$preset; fi

# Compiled code is shared between clones: paths below the project count as relative.
export CCACHE_DIR=${CCACHE_DIR:-$cache/ccache} CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-3G}

openvino=$(tools/fetch_openvino.sh)
llamacpp=
if [ "$preset" != fuzz ]; then llamacpp=$(tools/setup_llamacpp.sh); fi # fuzz targets link no engine
mkdir -p "$folder"
exec 9>"$folder/.build.lock" # two builds in one folder would spoil each other
flock 9
wanted="$openvino $llamacpp $(sha256sum <CMakePresets.json)"
if [ ! -f "$folder/build.ninja" ] || [ "$(cat "$folder/.configured" 2>/dev/null)" != "$wanted" ]; then
  rm -f "$folder/.configured"
  cmake --preset "$preset" -DOpenVINO_DIR="$openvino" -DLLAMACPP_ROOT="$llamacpp"
  echo "$wanted" >"$folder/.configured"
fi
targets=()
if [ $# -gt 0 ]; then targets=(--target "$@"); fi
# The lock is not inherited: a compiler that is left over must not hold it.
cmake --build "$folder" --parallel "${JOBS:-$(nproc)}" "${targets[@]}" 9>&-
