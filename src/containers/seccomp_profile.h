// The system calls that a worker in a container may make. All others fail with EPERM.
//
// How it was made: the calls of the OpenVINO worker, of its plugins' start and of evenkeel-init were traced over loading and
//   running the demo models (with and without a cache of compiled models), and grouped by purpose; then the variants that
//   another C library, processor or kernel uses for the same purpose were added. What is absent on purpose: everything that makes
//   sockets, mounts, namespaces, modules, keys, BPF programs, performance counters, or looks into other processes.
// Thread-safety: constant data.
#pragma once

#include <span>
#include <string_view>

namespace evenkeel {

std::span<const std::string_view> AllowedCalls();
// Flags of clone() that make namespaces: a call with any of them is refused. (clone3 passes its flags by pointer, where no filter
// can see them: it fails with ENOSYS, and the C library falls back to clone.)
inline constexpr unsigned long long kNamespaceFlags = 0x7e02'0080ULL;

}  // namespace evenkeel
