// Answers who a credential is, from the keys as they were at most a second ago.
//
// Use for: the one place of each protocol where calls come in. What the caller may do then is in the CallerAccess.
// Contract: Identify() and Renew() do not block and never touch the disk: they read a table that Refresh() exchanges as a whole.
//   Whether keys are asked for (required()) only ever turns from no to yes while the process runs: a file that disappears or cannot be
//   read any more leaves the keys that were known in force, and nobody else gets in. A credential is compared as a digest, in constant
//   time; that an id exists may show in the time, which is no secret. Expiry is by the wall clock, at each call.
// Thread-safety: thread-safe; Refresh() on one thread at a time (KeyWatch).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "access/auth_mode.h"
#include "access/caller_access.h"
#include "access/key_store.h"
#include "core/status.h"

namespace evenkeel {

// The Authorization fields of one call, in whatever protocol.
struct Authorization {
  std::string_view value;  // of the last
  int count = 0;
  void Add(std::string_view field) {
    value = field;
    ++count;
  }
};

class Authorizer {
 public:
  using WallClock = std::function<int64_t()>;  // seconds since the Unix epoch
  static int64_t UnixSeconds();

  // Reads the keys (not in mode kOff). Errors: KeyStore::Read()'s. There must be no serving without an Authorizer.
  static Result<std::unique_ptr<Authorizer>> Open(const std::string& path, AuthMode mode,
                                                  WallClock now_s = UnixSeconds);
  // One that asks nobody for a key.
  static const Authorizer& Off();

  // Callers need a key.
  bool required() const { return required_.load(std::memory_order_acquire); }
  // The scheme is Bearer, in any case; two fields are as bad as none.
  CallerAccess Identify(const Authorization& authorization) const;
  // What became of an access that Identify() gave some time ago: revoked, expired, keys asked for since. For calls that stay open.
  CallerAccess Renew(const CallerAccess& access) const;

  // Looks whether the file has changed, and reads it if so; says in the log, once a minute at most, how many calls came with a wrong key.
  // Blocks on the disk.
  void Refresh();

  // Keys that are in force now.
  size_t valid_keys() const;

 private:
  // What tells one state of the file from another.
  struct Stamp {
    bool exists = false;
    uint64_t device = 0, inode = 0;
    int64_t size = 0, modified_ns = 0, changed_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  using Table = std::map<std::string, KeyRecord, std::less<>>;  // by id

  Authorizer(const std::string& path, AuthMode mode, WallClock now_s);
  Stamp LookAtFile() const;
  Status Load();
  void TellOfRefusals();
  void Keep(std::vector<KeyRecord> keys);
  CallerAccess Recognise(std::string_view text) const;
  CallerAccess Judge(const KeyRecord* key, const KeyDigest& digest,
                     const std::shared_ptr<const Table>& table) const;
  std::shared_ptr<const Table> Keys() const;

  const KeyStore store_;
  const AuthMode mode_;
  const WallClock now_s_;
  std::atomic<bool> required_;  // atomic: the first look of every call, without the mutex
  mutable std::atomic<uint64_t> refused_{0};  // atomic: counted by every call; not yet told
  mutable std::mutex mutex_;
  std::shared_ptr<const Table>
      table_;  // guarded by mutex_, held for a copy; shared with the calls that carry one of its keys
  // Of Refresh() alone.
  Stamp stamp_;
  bool settled_ =
      false;  // the file was old enough when it was read that a later change shows in its stamp
  std::string trouble_;  // told last
  int64_t told_s_ = 0;   // of refusals
};

}  // namespace evenkeel
