#include "server/kept_wishes.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <utility>

#include "core/log.h"
#include "core/replace_file.h"

namespace evenkeel {
namespace {

int64_t NowUnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

KeptWishes::KeptWishes(std::string path) : path_(std::move(path)) {
  std::ifstream file(path_, std::ios::binary);
  if (path_.empty() || !file) return;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  auto wishes = ParseWishes(text);
  if (!wishes.ok()) {
    LogWarning("{}: {}: how many replicas were asked for is not known any more", path_,
               wishes.status().message());
    return;
  }
  wishes_ = *std::move(wishes);
}

void KeptWishes::Save() {
  if (path_.empty()) return;
  if (const Status saved = ReplaceFile(path_, WriteWishes(wishes_)); !saved.ok())
    LogWarning("how many replicas were asked for is not kept: {}", saved.message());
}

void KeptWishes::Ask(const std::string& model, int replicas) {
  const std::lock_guard lock(mutex_);
  wishes_.Ask(model, replicas, NowUnixMs());
  Save();
}

void KeptWishes::Hear(const std::vector<ReplicaWish>& theirs) {
  const std::lock_guard lock(mutex_);
  bool news = false;
  for (const ReplicaWish& wish : theirs) news = wishes_.Take(wish) || news;
  if (news) Save();
}

std::vector<ReplicaWish> KeptWishes::All() const {
  const std::lock_guard lock(mutex_);
  return wishes_.All();
}

}  // namespace evenkeel
