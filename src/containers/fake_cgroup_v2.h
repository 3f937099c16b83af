// A pretended kernel with control groups of version 2, as far as this room uses them. For tests.
//
// Has the rules that matter: a group's interface files exist only for controllers that its parent hands on; a group other than the
// root that has processes can't hand any on, and one that hands on can't take processes; a group with processes or children can't
// be removed; a process is in one group.
// Source: the kernel's Documentation/admin-guide/cgroup-v2.rst. Thread-safety: none.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "containers/cgroup_files.h"
#include "containers/cgroup_text.h"
#include "core/format.h"

namespace evenkeel {

class FakeCgroupV2 final : public CgroupFiles {
 public:
  explicit FakeCgroupV2(std::string root) : root_(std::move(root)) { groups_[root_] = {}; }

  void Put(const std::string& group, int pid) { groups_[group].procs.insert(pid); }
  void Set(const std::string& path, std::string text) { values_[path] = std::move(text); }
  std::set<int> Procs(const std::string& group) const { return groups_.at(group).procs; }
  bool Has(const std::string& group) const { return groups_.contains(group); }
  std::string Value(const std::string& path) const {
    const auto found = values_.find(path);
    return found == values_.end() ? "" : found->second;
  }
  void Allow(const std::string& group) const { groups_[group].hands_on = All(); }
  bool read_only = false;

  Result<std::string> Read(const std::string& path) const override {
    const auto [group, file] = SplitPath(path);
    if (!Exists(path)) return NotFound("reading {}: No such file or directory", path);
    if (file == "cgroup.procs") {
      std::string text;
      for (const int pid : groups_.at(group).procs) text += std::to_string(pid) + "\n";
      return text;
    }
    if (file == "cgroup.controllers") {
      std::string text;
      for (const auto& name : Controllers(group)) text += name + " ";
      return text;
    }
    return Value(path);
  }
  Status Write(const std::string& path, std::string_view text) const override {
    const auto [group, file] = SplitPath(path);
    if (!Exists(path)) return NotFound("opening {}: No such file or directory", path);
    if (file == "cgroup.procs") {
      if (group != root_ && !groups_[group].hands_on.empty()) return Busy(path);
      for (auto& [name, each] : groups_) each.procs.erase(std::stoi(std::string(text)));
      groups_[group].procs.insert(std::stoi(std::string(text)));
      return Status::Ok();
    }
    if (file == "cgroup.subtree_control") {
      if (group != root_ && !groups_[group].procs.empty()) return Busy(path);
      for (const auto word : Split(text, ' ')) {
        const std::string name(word.substr(1));
        if (!Controllers(group).contains(name)) return NotFound("no controller {}", name);
        groups_[group].hands_on.insert(name);
      }
      return Status::Ok();
    }
    values_[path] = text;
    return Status::Ok();
  }
  bool Exists(const std::string& path) const override {
    if (groups_.contains(path)) return true;
    const auto [group, file] = SplitPath(path);
    if (!groups_.contains(group)) return false;
    if (file == "cgroup.type") return group != root_;
    if (file.starts_with("cgroup.")) return true;
    return group != root_ && Controllers(group).contains(file.substr(0, file.find('.')));
  }
  bool Writable(const std::string& path) const override { return !read_only && Exists(path); }
  Status MakeFolder(const std::string& path) const override {
    if (!groups_.contains(SplitPath(path).first)) return NotFound("making {}: no parent", path);
    groups_.try_emplace(path);
    return Status::Ok();
  }
  Status RemoveFolder(const std::string& path) const override {
    if (!groups_.contains(path)) return Status::Ok();
    const bool parent = std::ranges::any_of(
        groups_, [&](const auto& each) { return each.first.starts_with(path + "/"); });
    if (parent || !groups_[path].procs.empty()) return Busy(path);
    groups_.erase(path);
    return Status::Ok();
  }

 private:
  struct Group {
    std::set<int> procs;
    std::set<std::string> hands_on;
  };
  static std::set<std::string> All() { return {"cpu", "cpuset", "memory", "pids", "io"}; }
  static std::pair<std::string, std::string> SplitPath(const std::string& path) {
    const size_t slash = path.rfind('/');
    return {path.substr(0, slash), path.substr(slash + 1)};
  }
  static Status Busy(const std::string& path) {
    return Unavailable("writing to {}: Device or resource busy", path);
  }
  // What the group was given.
  std::set<std::string> Controllers(const std::string& group) const {
    return group == root_ ? All() : groups_.at(SplitPath(group).first).hands_on;
  }

  const std::string root_;
  mutable std::map<std::string, Group> groups_;
  mutable std::map<std::string, std::string> values_;
};

}  // namespace evenkeel
