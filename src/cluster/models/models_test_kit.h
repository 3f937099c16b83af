// Folders with models for tests of this room.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "cluster/models/sha256.h"
#include "repository/test_folder.h"

namespace evenkeel {

inline std::string DigestOfBytes(std::string_view bytes) {
  Sha256 sum;
  sum.Add(bytes);
  return sum.Hex();
}

class ScratchFolder : public TestFolder {
 public:
  std::string Read(const std::string& name) const {
    std::ifstream file(std::filesystem::path(path()) / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool Has(const std::string& name) const {
    return std::filesystem::exists(std::filesystem::path(path()) / name);
  }
};

}  // namespace evenkeel
