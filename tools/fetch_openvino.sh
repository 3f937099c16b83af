#!/usr/bin/env bash
# Fetches the OpenVINO runtime into the cache and prints the folder that holds OpenVINOConfig.cmake:
#
#   cmake -DOpenVINO_DIR="$(tools/fetch_openvino.sh)" ...
#
# Kept from the wheel: libraries (CPU, GPU and NPU plugins, frontends), headers, CMake configuration, licences.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements-openvino.txt
version=$(sed -n 's/^openvino==\([^ ]*\).*/\1/p' "$requirements")
tree=$("$here/setup_wheels.sh" "openvino-$version" "$requirements" \
  'openvino/libs/*' 'openvino/include/*' 'openvino/cmake/*' '*.dist-info/licenses/*' '*.dist-info/METADATA')
echo "$tree/openvino/cmake"
