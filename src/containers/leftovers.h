// Finds and removes what a daemon that was killed has left: groups, container states, bundles.
//
// Contract: touches only groups named evenkeel-LABEL and folders in STATE/containers; LABEL is made from the state folder's path, and
//   the caller holds that folder's lock, so nothing of a living daemon and nothing of another one is met. Mounts need no removal: they
//   were made in the containers' own mount namespaces and went with them.
// Thread-safety: thread-safe. Source: A3.
#pragma once

#include <string>
#include <vector>

#include "containers/cgroup.h"

namespace evenkeel {

// Eight hexadecimal digits.
std::string LabelOf(const std::string& state_folder);

struct Leftovers {
  int groups = 0, containers = 0;
  std::vector<std::string> kept;  // what could not be removed, with why
};
// Kills what still runs in such groups, too. `containers` is STATE/containers.
Leftovers RemoveLeftovers(const std::string& containers, const std::string& label);

// Folders named `name` in mounted hierarchies of control groups, anywhere.
std::vector<std::string> GroupsNamed(const std::string& name);

}  // namespace evenkeel
