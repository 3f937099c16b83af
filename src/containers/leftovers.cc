#include "containers/leftovers.h"

#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "containers/cgroup_text.h"
#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> CgroupMounts() {
  std::vector<std::string> points;
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.find(" - cgroup ") == std::string::npos &&
        line.find(" - cgroup2 ") == std::string::npos)
      continue;
    const auto parts = Split(line, ' ');
    if (parts.size() > 4) points.emplace_back(parts[4]);
  }
  return points;
}

void FindNamed(const fs::path& folder, const std::string& name, std::vector<std::string>* found) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!entry.is_directory(error) || entry.is_symlink(error)) continue;
    if (entry.path().filename() == name) {
      found->push_back(entry.path().string());
    } else {
      FindNamed(entry.path(), name, found);
    }
  }
}

int KillIn(const fs::path& group) {
  // runc stops a group for moments while it sets it up. One that is left so (version 1) would not even die.
  if (const fs::path freezer = group / "freezer.state"; fs::exists(freezer)) {
    std::ofstream(freezer) << "THAWED";
  }
  std::ifstream file(group / "cgroup.procs");
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    const auto pid = Number(line);
    if (!pid || *pid <= 1) continue;
    ::kill(static_cast<pid_t>(*pid), SIGKILL);
    ++count;
  }
  return count;
}

// Children first. True once the group is gone.
bool RemoveTree(const fs::path& group, std::string* why) {
  std::error_code error;
  bool gone = true;
  for (const auto& entry : fs::directory_iterator(group, error)) {
    if (entry.is_directory(error)) gone = RemoveTree(entry.path(), why) && gone;
  }
  KillIn(group);
  if (!fs::remove(group, error) && error) {
    *why = error.message();
    return false;
  }
  return gone;
}

}  // namespace

std::string LabelOf(const std::string& state_folder) {
  uint64_t hash = 14'695'981'039'346'656'037ULL;  // FNV-1a
  for (const char c : state_folder) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 1'099'511'628'211ULL;
  }
  return fmt::format("{:08x}", static_cast<uint32_t>(hash ^ (hash >> 32)));
}

std::vector<std::string> GroupsNamed(const std::string& name) {
  std::vector<std::string> found;
  for (const std::string& point : CgroupMounts()) FindNamed(point, name, &found);
  return found;
}

Leftovers RemoveLeftovers(const std::string& containers, const std::string& label) {
  Leftovers left;
  for (const std::string& group : GroupsNamed(CgroupBase(label))) {
    std::string why;
    bool gone = false;
    for (int i = 0; i < 2000 && !gone; ++i) {
      gone = RemoveTree(group, &why);
      if (!gone) ::poll(nullptr, 0, 1);
    }
    if (gone) {
      ++left.groups;
    } else {
      left.kept.push_back(group + ": " + why);
    }
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(containers, error)) {
    std::error_code removal;
    fs::remove_all(entry.path(), removal);
    if (removal) {
      left.kept.push_back(entry.path().string() + ": " + removal.message());
    } else if (entry.path().filename() != "runc") {
      ++left.containers;
    }
  }
  return left;
}

}  // namespace evenkeel
