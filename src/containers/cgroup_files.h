// The few file operations that control groups are made of, so that tests can put a pretended kernel in their place.
//
// Contract: paths are absolute. Errors carry the path and errno's text: kNotFound for a missing one, kUnavailable otherwise.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

class CgroupFiles {
 public:
  virtual ~CgroupFiles() = default;
  // At most 64 KiB, the trailing line end removed.
  virtual Result<std::string> Read(const std::string& path) const = 0;
  virtual Status Write(const std::string& path, std::string_view text) const = 0;  // never creates
  virtual bool Exists(const std::string& path) const = 0;
  virtual bool Writable(const std::string& path) const = 0;
  virtual Status MakeFolder(const std::string& path) const = 0;    // one that is there is no error
  virtual Status RemoveFolder(const std::string& path) const = 0;  // a missing one is no error

  static const CgroupFiles& System();
};

}  // namespace evenkeel
