#!/usr/bin/env bash
# Builds llama.cpp into the cache and prints the folder with its include/, lib/ and licences.
#
#   cmake -DLLAMACPP_ROOT="$(tools/setup_llamacpp.sh)" ...
#   tools/setup_llamacpp.sh --server     also builds llama-server and llama-batched-bench, for comparisons; prints their folder
#
# The source comes from a source distribution taken by hash and is changed by tools/patch_llamacpp.py. Only the libraries that
# the worker links are built, for this machine's processor: about ten minutes of one core. The folder is keyed by what decides its
# content (sources, scripts, compiler, processor), so each machine builds once for all clones. The programs of --server are
# llama.cpp as it is: the same source with the one change without which nothing runs, and its own defaults for threads (OpenMP).
set -euo pipefail
server=
case "${1:-}" in
  '') ;;
  --server) server=1 ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements-llamacpp.txt
version=$(sed -n 's/^llama-cpp-python==\([^ ]*\).*/\1/p' "$requirements")
cache=${EVENKEEL_CACHE:-${HOME:?HOME is not set: name a cache folder in EVENKEEL_CACHE}/.cache/evenkeel}
cc=${LLAMACPP_CC:-gcc} cxx=${LLAMACPP_CXX:-g++}

# Comments and blank lines do not count: rewording one must not cost a build.
code() { sed 's/^[[:space:]]*#.*//;s/[[:space:]]#.*//;/^[[:space:]]*$/d' "$1"; }
headers=("$here"/../src/engines/llamacpp/{cell_attention,q4_1_product,coming_threads}.h) # patch_llamacpp.py puts them in
patch=()
if [ -n "$server" ]; then patch=(--needed-only); fi
source_key=$({ echo "${patch[@]}"; code "$requirements"; code "$here/patch_llamacpp.py"; if [ -z "$server" ]; then sed '\,^[[:space:]]*//,d;/^[[:space:]]*$/d' "${headers[@]}"; fi; } |
  sha256sum | cut -c1-8)
# What -march=native means here is what the code will need: two machines of one kind share a build.
build_key=$({ echo "$source_key"; code "$0"; "$cxx" --version | head -1; "$cxx" -march=native -Q --help=target; } |
  sha256sum | cut -c1-8)
source=$cache/llamacpp-source-$version-$source_key
target=$cache/llamacpp-$version-$build_key
if [ -n "$server" ]; then target=$cache/llamacpp-server-$version-$build_key; fi
if [ -d "$target" ]; then
  echo "$target"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/.llamacpp-$build_key.lock"
flock 9
if [ -d "$target" ]; then # another process was first
  echo "$target"
  exit 0
fi
work=$(mktemp -d "$cache/.tmp-llamacpp-XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -d "$source" ]; then
  echo "fetching llama.cpp (one source distribution, by hash) into the cache" >&2
  # pip reads the package's metadata with the builder that the package names: it is given that, by hash too.
  python=$("$here/setup_venv.sh" "$here/requirements-llamacpp-fetch.txt")/bin/python
  "$python" -m pip --quiet --disable-pip-version-check download --no-deps --require-hashes --no-build-isolation \
    --no-binary llama-cpp-python --dest "$work/sdist" --requirement "$requirements" >&2
  mkdir "$work/source"
  tar -xzf "$work"/sdist/*.tar.gz -C "$work/source" --strip-components=3 --wildcards '*/vendor/llama.cpp' \
    --exclude='*/vendor/llama.cpp/models' --exclude='*/vendor/llama.cpp/docs' --exclude='*/vendor/llama.cpp/media' \
    --exclude='*/vendor/llama.cpp/.git'
  python3 "$here/patch_llamacpp.py" "${patch[@]}" "$work/source"
  chmod -R a-w,a+rX "$work/source"
  chmod u+w "$work/source" # a folder that is not writable cannot be renamed by its owner
  mv -T "$work/source" "$source" 2>/dev/null || [ -d "$source" ] # else another key's build was first
fi

# Built from a copy: then the paths that the compiler is given are the same for every state of the source, and ccache has what did not change.
if [ -d "$work/source" ]; then chmod -R u+w "$work/source" && rm -rf "$work/source"; fi # another key's was first
cp -r --no-preserve=mode "$source" "$work/source"
launcher=()
if ccache=$(command -v ccache); then
  launcher=(-DCMAKE_C_COMPILER_LAUNCHER="$ccache" -DCMAKE_CXX_COMPILER_LAUNCHER="$ccache")
  export CCACHE_DIR=${CCACHE_DIR:-$cache/ccache} CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
  export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-3G}
fi
flags=(-DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_COMPILER=$cc" "-DCMAKE_CXX_COMPILER=$cxx" -DBUILD_SHARED_LIBS=OFF
  -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DGGML_NATIVE=ON -DGGML_CCACHE=OFF -DLLAMA_BUILD_UI=OFF
  -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TESTS=OFF
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF)
if [ -n "$server" ]; then
  flags+=(-DGGML_OPENMP=ON -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON)
  targets=(llama-server llama-batched-bench)
else
  # Without OpenMP the threads of a step are ggml's own, and wait as patch_llamacpp.py says.
  flags+=(-DGGML_OPENMP=OFF -DLLAMA_SUBPROCESS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF)
  targets=(llama llama-common ggml ggml-base ggml-cpu)
fi
echo "building llama.cpp for this processor into the cache (once; about ten minutes of one core)" >&2
log=$work/log
if ! { cmake -G Ninja -S "$work/source" -B "$work/build" "${flags[@]}" "${launcher[@]}" &&
  cmake --build "$work/build" --parallel "${JOBS:-$(nproc)}" --target "${targets[@]}"; } >"$log" 2>&1 9>&-; then
  tail -n 40 "$log" >&2
  exit 1
fi

tree=$work/tree
mkdir -p "$tree/licenses"
if [ -n "$server" ]; then
  cp "$work"/build/bin/llama-server "$work"/build/bin/llama-batched-bench "$tree/"
else
  mkdir -p "$tree/include" "$tree/lib" "$tree/common"
  cp "$source"/include/*.h "$source"/ggml/include/*.h "$tree/include/"
  (cd "$source/common" && find . -name '*.h' -exec cp --parents -t "$tree/common" {} +)
  find "$work/build" -name '*.a' -exec cp -t "$tree/lib" {} +
fi
cp "$source/LICENSE" "$tree/licenses/llama.cpp"
cp "$source"/licenses/* "$tree/licenses/" 2>/dev/null || true
chmod -R u+w "$tree"
mv -T "$tree" "$target"
echo "$target"
