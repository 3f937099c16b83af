#!/usr/bin/env bash
# Installs the Debian packages of tools/apt-packages.txt that are missing. Says which; does nothing when none is.
#
#   tools/setup.sh            install (with sudo when not root)
#   tools/setup.sh --check    only say what is missing: exit 1 if anything is
#
# Everything else that is downloaded goes to the cache (${EVENKEEL_CACHE:-~/.cache/evenkeel}) when it is first needed.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  --check | '') ;;
  *) echo "setup: unknown argument '$1' (see --help)" >&2; exit 2 ;;
esac
list=$(cd "$(dirname "$0")" && pwd)/apt-packages.txt

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is not Debian; install what $list names, then go on with 'make build'" >&2
  exit 1
fi

# Lines "name" or "name least-version" for what is not there or too old.
missing() {
  local installed name least
  installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Status} ${Version}\n' 2>/dev/null |
    awk '$2 == "installed" { print $1, $3 }')
  sed 's/[[:space:]]*#.*//;/^[[:space:]]*$/d' "$list" | awk '
    NR == FNR { version[$1] = $2; next }
    { print $1, ($1 in version) ? version[$1] : "-", ($2 == ">=") ? $3 : "-" }
  ' <(echo "$installed") - | while read -r name installed least; do
    if [ "$installed" = - ]; then
      echo "$name"
    elif [ "$least" != - ] && ! dpkg --compare-versions "$installed" ge "$least"; then
      echo "$name $least"
    fi
  done
}

wanted=$(missing)
if [ -z "$wanted" ]; then exit 0; fi
names=$(echo "$wanted" | cut -d' ' -f1 | tr '\n' ' ')
if [ "${1:-}" = --check ]; then
  echo "missing: $names"
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root, and there is no sudo. As root: apt-get install --no-install-recommends $names" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing Debian packages: $names" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
    -o Acquire::Retries=3 "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get $1 failed" >&2
    exit 1
  fi
}
apt update
# Evenkeel starts etcd itself, with ports and data of its own: the package's unit must start neither now nor at the next boot. Masked before it is there; one
# that was installed before is somebody's, and stays as it is. Without systemd the package starts nothing.
if [[ " $names" == *" etcd-server "* ]] && [ -d /run/systemd/system ]; then
  echo "masking etcd.service, which Evenkeel does not use (undo: systemctl unmask etcd.service)" >&2
  "${as_root[@]}" systemctl mask --quiet etcd.service
fi
# shellcheck disable=SC2086 # one word a package
apt install --yes --no-install-recommends $names

wanted=$(missing)
if [ -n "$wanted" ]; then
  echo "setup: this Debian has too old a version of (package, least version):" "$wanted" >&2
  exit 1
fi
