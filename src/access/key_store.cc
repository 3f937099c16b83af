#include "access/key_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "access/key_database.h"
#include "core/file_owner.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using Statement = KeyDatabase::Statement;

constexpr const char* kSelect =
    "SELECT id, name, scopes, digest, created_s, expires_s, revoked_s FROM api_keys ";
constexpr int kTries = 3;  // ids that chance may have given before

bool IsNameLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// Whether there is a file; an error when it is not one to be trusted.
Result<bool> CheckFile(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return Unavailable("the API keys in '{}' cannot be read: {}", path, std::strerror(errno));
  }
  if (!S_ISREG(facts.st_mode)) return Unavailable("'{}': expected a file of API keys", path);
  if ((facts.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Unavailable("the API keys in '{}' may be written by others: chmod 600 '{}'", path, path);
  }
  if (::access(path.c_str(), R_OK) != 0)
    return Unavailable("the API keys in '{}' cannot be read: {}", path, std::strerror(errno));
  return true;
}

Status MakeFile(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  EK_RETURN_IF_ERROR(MakeFolders(folder.string()));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return errno == EEXIST ? Status()
                           : Unavailable("'{}' cannot be made: {}", path, std::strerror(errno));
  }
  const Status given = GiveToOwnerOf(folder.string(), fd).Annotate("the file of API keys");
  ::close(fd);
  if (!given.ok()) ::unlink(path.c_str());
  return given;
}

Status CheckRecord(const KeyRecord& key, const Result<std::vector<Scope>>& scopes,
                   const std::string& digest) {
  if (IsKeyId(key.id) && CheckKeyName(key.name).ok() && scopes.ok() &&
      digest.size() == key.digest.size())
    return {};
  return Unavailable("the API key {} has a name, scopes or a digest that make no sense",
                     Excerpt(key.id));
}

Result<std::vector<KeyRecord>> ReadRows(Statement& select) {
  std::vector<KeyRecord> keys;
  while (select.Step()) {
    KeyRecord key;
    key.id = select.Text();
    key.name = select.Text();
    Result<std::vector<Scope>> scopes = ParseScopes(select.Text());
    const std::string digest = select.Bytes();
    key.created_s = select.Integer();
    key.expires_s = select.Integer();
    key.revoked_s = select.Integer();
    EK_RETURN_IF_ERROR(CheckRecord(key, scopes, digest));
    key.scopes = std::move(*scopes);
    std::memcpy(key.digest.data(), digest.data(), digest.size());
    keys.push_back(std::move(key));
  }
  if (!select.status().ok()) return select.status();
  return keys;
}

// "ek_abcdefgh", perhaps with more behind it, as an id; all else as a name.
struct Which {
  std::string_view name, id;
};

Which Split(std::string_view text) {
  if (text.starts_with(kKeyPrefix)) {
    const std::string_view id = text.substr(kKeyPrefix.size(), kKeyIdSize);
    const size_t end = kKeyPrefix.size() + kKeyIdSize;
    if (IsKeyId(id) && (text.size() == end || text[end] == '_')) return {"", id};
  }
  return {text, ""};
}

Result<KeyRecord> FindInForce(KeyDatabase& db, std::string_view text) {
  const Which which = Split(text);
  Statement select(db, std::string(kSelect) + "WHERE revoked_s = 0 AND (name = ? OR id = ?)");
  select << which.name << which.id;
  Result<std::vector<KeyRecord>> found = ReadRows(select);
  if (!found.ok()) return found.status();
  if (!found->empty()) return std::move(found->front());
  // Something that begins like a key is not repeated: it may be one.
  if (!which.id.empty() || text.starts_with(kKeyPrefix))
    return NotFound("no key in force has the id {}{}", kKeyPrefix, which.id);
  return NotFound("no key in force is named {}", Excerpt(text));
}

Status MakeRoom(KeyDatabase& db) {
  int64_t count = 0;
  {
    Statement counted(db, "SELECT count(*) FROM api_keys");
    if (counted.Step()) count = counted.Integer();
    EK_RETURN_IF_ERROR(counted.status());
  }
  if (count < static_cast<int64_t>(kMostKeys)) return {};
  Statement drop(db,
                 "DELETE FROM api_keys WHERE id = (SELECT id FROM api_keys WHERE revoked_s > 0 "
                 "ORDER BY revoked_s LIMIT 1)");
  drop.Step();
  EK_RETURN_IF_ERROR(drop.status());
  return db.changed_rows() > 0
             ? Status()
             : Conflict("there are {} keys in force, and no more can be made", kMostKeys);
}

Result<MadeKey> Insert(KeyDatabase& db, const KeyWish& wish, int64_t now_s) {
  for (int i = 0; i < kTries; ++i) {
    const Result<KeyEntropy> entropy = NewKeyEntropy();
    if (!entropy.ok()) return entropy.status();
    MadeKey made;
    made.text = KeyFrom(*entropy);
    made.record = {std::string(KeyIdOf(made.text)),
                   wish.name,
                   wish.scopes,
                   DigestOf(made.text),
                   now_s,
                   wish.expires_s,
                   0};
    const std::string scopes = ToString(wish.scopes);
    Statement insert(db, "INSERT INTO api_keys VALUES (?,?,?,?,?,?,0)");
    insert << made.record.id << made.record.name << scopes
           << std::span<const uint8_t>(made.record.digest) << now_s << wish.expires_s;
    insert.Step();
    if (insert.IdTaken()) continue;
    if (insert.NameTaken()) {
      return Conflict("a key named '{}' is in force: revoke it, or choose another name", wish.name);
    }
    if (!insert.status().ok()) return insert.status();
    return made;
  }
  return Internal("no free id for a key was found");
}

}  // namespace

std::string KeyStorePath(const std::string& state_folder) { return state_folder + "/api_keys.db"; }

Status CheckKeyName(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kLongestKeyName &&
                    std::ranges::all_of(name, IsNameLetter) && name.front() != '.' &&
                    name.front() != '_' && name.front() != '-' && !name.starts_with(kKeyPrefix);
  if (fits) return {};
  return InvalidArgument(
      "a key's name: expected a letter or digit, then letters, digits, '.', '_' and '-', {} at "
      "most, and not 'ek_' at its beginning{}",
      kLongestKeyName, name.starts_with(kKeyPrefix) ? "" : ", got " + Excerpt(name));
}

Result<std::vector<KeyRecord>> KeyStore::Read() const {
  const Result<bool> there = CheckFile(path_);
  if (!there.ok()) return there.status();
  if (!*there) return std::vector<KeyRecord>();
  Result<KeyDatabase> db = KeyDatabase::Open(path_);
  if (!db.ok()) return db.status();
  EK_RETURN_IF_ERROR(db->CheckLayout(/*may_be_new=*/false));
  Statement select(*db, std::string(kSelect) + "ORDER BY created_s, id");
  Result<std::vector<KeyRecord>> keys = ReadRows(select);
  if (!keys.ok()) return keys.status().Annotate(path_);
  return keys;
}

Result<MadeKey> KeyStore::Create(const KeyWish& wish, int64_t now_s) const {
  EK_RETURN_IF_ERROR(CheckKeyName(wish.name));
  if (wish.scopes.empty() || wish.scopes.size() > kMostScopes)
    return InvalidArgument("a key: expected 1 to {} scopes, got {}", kMostScopes,
                           wish.scopes.size());
  if (wish.expires_s != 0 && wish.expires_s <= now_s)
    return InvalidArgument("a key: it would have expired already");
  EK_RETURN_IF_ERROR(MakeFile(path_));
  const Result<bool> there = CheckFile(path_);
  if (!there.ok()) return there.status();
  Result<KeyDatabase> db = KeyDatabase::Open(path_);
  if (!db.ok()) return db.status();
  EK_RETURN_IF_ERROR(db->Begin());
  EK_RETURN_IF_ERROR(db->CheckLayout(/*may_be_new=*/true));
  EK_RETURN_IF_ERROR(MakeRoom(*db));
  Result<MadeKey> made = Insert(*db, wish, now_s);
  if (!made.ok()) return made.status();
  EK_RETURN_IF_ERROR(db->Commit());
  return made;
}

Result<KeyRecord> KeyStore::Find(std::string_view which) const {
  const Result<bool> there = CheckFile(path_);
  if (!there.ok()) return there.status();
  if (!*there) return NotFound("there are no keys: '{}' does not exist", path_);
  Result<KeyDatabase> db = KeyDatabase::Open(path_);
  if (!db.ok()) return db.status();
  EK_RETURN_IF_ERROR(db->CheckLayout(/*may_be_new=*/false));
  return FindInForce(*db, which);
}

Result<KeyRecord> KeyStore::Revoke(std::string_view which, int64_t now_s) const {
  const Result<bool> there = CheckFile(path_);
  if (!there.ok()) return there.status();
  if (!*there) return NotFound("there are no keys: '{}' does not exist", path_);
  Result<KeyDatabase> db = KeyDatabase::Open(path_);
  if (!db.ok()) return db.status();
  EK_RETURN_IF_ERROR(db->Begin());
  EK_RETURN_IF_ERROR(db->CheckLayout(/*may_be_new=*/false));
  Result<KeyRecord> key = FindInForce(*db, which);
  if (!key.ok()) return key.status();
  {
    Statement update(*db, "UPDATE api_keys SET revoked_s = ? WHERE id = ?");
    update << std::max<int64_t>(now_s, 1) << key->id;
    update.Step();
    EK_RETURN_IF_ERROR(update.status());
  }
  EK_RETURN_IF_ERROR(db->Commit());
  return key;
}

}  // namespace evenkeel
