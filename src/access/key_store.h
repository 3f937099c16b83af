// The API keys of a server: a SQLite file in its state folder, which the command line writes and the server reads.
//
// Contract: every call opens the file and closes it again, so that a running server and the command line get on; a writer shuts
//   readers out for the moment of its one transaction, and what was told to be done is on disk. Create() makes the file, readable by
//   its owner alone (made by root, it belongs to the owner of its folder). Revoked keys stay, so that a store in which a key was ever
//   made is never empty again; past kMostKeys the longest revoked goes.
//   A file that is damaged, of another layout, holds a row that makes no sense, or may be written by others is an error, never
//   "no keys", and is not mended here: whoever asks must not go on as if there were none.
// Errors: kUnavailable (the file cannot be read or changed, with the reason), kConflict (the name is taken), kNotFound,
//   kInvalidArgument (name, scopes or expiry make no sense).
// Thread-safety: thread-safe. Blocks on the disk, and up to a second for another writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "access/key_record.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostKeys = 10'000;
inline constexpr size_t kLongestKeyName = 64;

// The store of the server whose state folder this is.
std::string KeyStorePath(const std::string& state_folder);

// A letter or digit, then letters, digits, '.', '_', '-'; not the beginning of a key. Error kInvalidArgument.
Status CheckKeyName(std::string_view name);

struct KeyWish {
  std::string name;
  std::vector<Scope> scopes;
  int64_t expires_s = 0;  // 0: never
};

struct MadeKey {
  std::string text;  // the key; nobody can read it again
  KeyRecord record;
};

class KeyStore {
 public:
  // `path` is absolute.
  explicit KeyStore(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }

  // Every key there was, oldest first. Empty when there is no file.
  Result<std::vector<KeyRecord>> Read() const;
  Result<MadeKey> Create(const KeyWish& wish, int64_t now_s) const;
  // `which`: the name of a key in force, or "ek_" and its id (what follows the id is ignored: a leaked key may be given whole).
  // Returns the key as it was.
  Result<KeyRecord> Revoke(std::string_view which, int64_t now_s) const;
  // The key in force that Revoke() would end.
  Result<KeyRecord> Find(std::string_view which) const;

 private:
  const std::string path_;
};

}  // namespace evenkeel
