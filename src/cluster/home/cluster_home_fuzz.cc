// Fuzzes the file cluster.json and the addresses in it. What is accepted is saved again as the same.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "cluster/home/cluster_home.h"
#include "cluster/pki/node_identity.h"
#include "core/check.h"
#include "core/parse.h"

namespace {

// One a process, removed with it.
struct Folder {
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "ek-home-XXXXXX";
    EK_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  std::string Read() const {
    std::ifstream file(path + "/cluster.json", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::string path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  static const Folder folder;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto address = ParseHostPort(text); address.ok()) {
    const auto again = ParseHostPort(FormatHostPort(address->host, address->port));
    EK_CHECK(again.ok() && again->host == address->host && again->port == address->port);
  } else {
    EK_CHECK(IsUtf8(address.status().message()));
  }
  std::ofstream(folder.path + "/cluster.json", std::ios::binary) << text;
  const auto home = LoadClusterHome(folder.path);
  if (!home.ok()) {
    EK_CHECK(home.status().code() != Code::kNotFound && IsUtf8(home.status().message()));
    return 0;
  }
  EK_CHECK(pki::CheckClusterId(home->cluster).ok());
  EK_CHECK(home->peers.size() <= kMostNodes && home->Knows(home->own.name));
  for (const NodeAddress& peer : home->peers)
    EK_CHECK(peer.name != home->own.name && ParseHostPort(peer.address).ok());
  EK_CHECK(SaveClusterHome(folder.path, *home).ok());
  const std::string saved = folder.Read();
  const auto again = LoadClusterHome(folder.path);
  EK_CHECK(again.ok() && again->own == home->own && again->peers == home->peers);
  EK_CHECK(SaveClusterHome(folder.path, *again).ok());
  EK_CHECK(folder.Read() == saved);
  return 0;
}
