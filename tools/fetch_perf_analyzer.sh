#!/usr/bin/env bash
# Fetches NVIDIA's perf_analyzer 2.41.1 into the cache and prints the path of a command that runs it.
#
#   "$(tools/fetch_perf_analyzer.sh)" -u 127.0.0.1:8000 -i http -m digits --concurrency-range 8
#
# 2.41.1 is the last release whose program comes with the tritonclient wheel and runs on Debian 12. It links libcudart,
# which has a wheel of its own and does nothing without a GPU, and libb64 (Debian's libb64-0d).
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
tree=$("$here/setup_wheels.sh" perf_analyzer-2.41.1 "$here/requirements-perf-analyzer.txt" \
  '*/bin/perf_analyzer' '*/libcudart.so.12' '*/LICENSE*' '*/License.txt' '*/METADATA')
command=$tree/perf_analyzer
if [ ! -x "$command" ]; then
  cat >"$command.$$" <<'SH'
#!/bin/sh
tree=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$tree/nvidia/cuda_runtime/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$tree/tritonclient-2.41.1.data/data/bin/perf_analyzer" "$@"
SH
  chmod +x "$command.$$"
  mv "$command.$$" "$command"
fi
echo "$command"
