#!/usr/bin/env bash
# Starts the server on the demo models, asks it what README.md is, asks the chat model a question, says what to try next, and goes on serving.
#
#   models/run_demo.sh BINARY MODELS
#
# The server's state lies beside the binary, so that it meets no other server's. PORT (default 8000), GRPC_PORT (8001) and METRICS_PORT (8002) say where; with ONCE=1 the server is stopped after the
# answer, and the exit status is 0 only if both the answer and the stop were as they should be.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
binary=$1 models=$2
here=$(cd "$(dirname "$0")" && pwd)
port=${PORT:-8000} grpc_port=${GRPC_PORT:-8001} metrics_port=${METRICS_PORT:-8002}
url=http://127.0.0.1:$port

# Said here rather than found in a log: the server would stop for the same reason.
for entry in "$port PORT" "$grpc_port GRPC_PORT" "$metrics_port METRICS_PORT"; do
  read -r number variable <<<"$entry"
  if ! python3 -c 'import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))' "$number" 2>/dev/null; then
    echo "run: port $number is in use (or not a port); choose another: make run $variable=$((RANDOM % 20000 + 20000))" >&2
    exit 1
  fi
done

state=$(dirname "$binary")/run-state
"$binary" serve --models "$models" --state "$state" --http-port "$port" --grpc-port "$grpc_port" --metrics-port "$metrics_port" &
server=$!
stop() { # ends the server, and returns its exit status
  local status=0
  kill -TERM "$server" 2>/dev/null || true
  wait "$server" || status=$?
  return "$status"
}
trap 'stop || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Asked in the background, so that a server that ends at once is noticed at once.
(cd "$here/.." && exec python3 models/ask_filetype.py --server "$url" --wait 60 README.md) &
asker=$!
ended=
wait -n -p ended "$server" "$asker" && status=0 || status=$?
if [ "${ended:-}" = "$server" ]; then
  trap - EXIT
  kill "$asker" 2>/dev/null || true
  echo "run: the server ended with status $status" >&2
  exit 1
fi
if [ "$status" -ne 0 ]; then
  echo "run: no answer (status $status); stopping the server" >&2
  exit 1
fi

if [ -e "$models/smollm2" ]; then
  # A language model takes longer to load than those before it, and starts in its own time; what all of them say of their start is not to come amid its answer.
  for _ in $(seq 120); do
    curl -sf "$url/v1/models/smollm2" >/dev/null && curl -sf "$url/readyz" >/dev/null && break
    sleep 0.5
  done
  echo "smollm2, asked to name three primary colours:"
  "$binary" run smollm2 --server "$url" --temperature 0 --max-tokens 48 "Name three primary colours." || {
    echo "run: the chat model gave no answer; stopping the server" >&2
    exit 1
  }
fi

if [ "${ONCE:-}" = 1 ]; then
  trap - EXIT
  status=0
  stop || status=$?
  if [ "$status" -ne 0 ]; then
    echo "run: the server ended with status $status after SIGTERM" >&2
    exit 1
  fi
  exit 0
fi

cat >&2 <<TEXT

Serving on $url until Ctrl-C. In another terminal, try:

  models/ask_filetype.py --server $url $binary
  curl -s $url/v2/models/digits
  curl -s $url/v2/models/digits/infer -d @models/example_digit.json
  curl -s -X POST $url/v2/repository/index
  $binary run smollm2 --server $url
  $binary ls --server $url
  $binary bench --help
  curl -s http://127.0.0.1:$metrics_port/metrics

TEXT
status=0
wait "$server" || status=$?
trap - EXIT
exit "$status"
