#include "access/key_database.h"

#include <sqlite3.h>

#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int64_t kLayout = 1;  // PRAGMA user_version
constexpr int kPatienceMs = 1000;
constexpr const char* kCreate =
    "CREATE TABLE api_keys ("
    " id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, digest BLOB NOT NULL,"
    " created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, revoked_s INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX names_in_force ON api_keys (name) WHERE revoked_s = 0;"
    "PRAGMA user_version = 1;";

bool IsDamage(int code) {
  const int primary = code & 0xff;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_FORMAT;
}

Status Damaged(const std::string& path, std::string_view how) {
  return Unavailable(
      "the API keys in '{}' are damaged ({}): put a copy back, or move the file away and make new "
      "keys",
      path, how);
}

}  // namespace

KeyDatabase::Statement::Statement(KeyDatabase& db, const std::string& sql) : db_(db) {
  code_ = ::sqlite3_prepare_v2(db.db_.get(), sql.c_str(), -1, &statement_, nullptr);
}

KeyDatabase::Statement::~Statement() { ::sqlite3_finalize(statement_); }

KeyDatabase::Statement& KeyDatabase::Statement::operator<<(std::string_view text) {
  ::sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                      SQLITE_STATIC);
  return *this;
}

KeyDatabase::Statement& KeyDatabase::Statement::operator<<(std::span<const uint8_t> bytes) {
  ::sqlite3_bind_blob(statement_, ++bound_, bytes.data(), static_cast<int>(bytes.size()),
                      SQLITE_STATIC);
  return *this;
}

KeyDatabase::Statement& KeyDatabase::Statement::operator<<(int64_t value) {
  ::sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}

bool KeyDatabase::Statement::Step() {
  if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = ::sqlite3_step(statement_);
  column_ = 0;
  return code_ == SQLITE_ROW;
}

std::string KeyDatabase::Statement::Text() {
  const auto* text = reinterpret_cast<const char*>(::sqlite3_column_text(statement_, column_));
  const int size = ::sqlite3_column_bytes(statement_, column_++);
  return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(size));
}

std::string KeyDatabase::Statement::Bytes() {
  const auto* bytes = static_cast<const char*>(::sqlite3_column_blob(statement_, column_));
  const int size = ::sqlite3_column_bytes(statement_, column_++);
  return bytes == nullptr ? std::string() : std::string(bytes, static_cast<size_t>(size));
}

int64_t KeyDatabase::Statement::Integer() { return ::sqlite3_column_int64(statement_, column_++); }

Status KeyDatabase::Statement::status() const {
  if (code_ == SQLITE_OK || code_ == SQLITE_DONE || code_ == SQLITE_ROW) return {};
  return db_.Failure(code_);
}

bool KeyDatabase::Statement::NameTaken() const { return code_ == SQLITE_CONSTRAINT_UNIQUE; }
bool KeyDatabase::Statement::IdTaken() const { return code_ == SQLITE_CONSTRAINT_PRIMARYKEY; }

void KeyDatabase::Close::operator()(sqlite3* db) const { ::sqlite3_close(db); }

Result<KeyDatabase> KeyDatabase::Open(const std::string& path) {
  KeyDatabase database(path);
  sqlite3* db = nullptr;
  const int code =
      ::sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  database.db_.reset(db);
  if (db == nullptr) return Unavailable("the API keys in '{}': out of memory", path);
  ::sqlite3_extended_result_codes(db, 1);
  if (code != SQLITE_OK) return database.Failure(code);
  ::sqlite3_busy_timeout(db, kPatienceMs);
  return database;
}

Status KeyDatabase::Failure(int code) const {
  const char* const why = ::sqlite3_errmsg(db_.get());
  if (IsDamage(code)) return Damaged(path_, why);
  return Unavailable("the API keys in '{}' cannot be {}: {}", path_,
                     (code & 0xff) == SQLITE_READONLY ? "changed" : "used", why);
}

Status KeyDatabase::Exec(const char* sql) {
  const int code = ::sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Status() : Failure(code);
}

Status KeyDatabase::CheckLayout(bool may_be_new) {
  int64_t layout = 0, tables = 0;
  {
    Statement version(*this, "PRAGMA user_version");
    if (version.Step()) layout = version.Integer();
    EK_RETURN_IF_ERROR(version.status());
    Statement count(*this, "SELECT count(*) FROM sqlite_schema");
    if (count.Step()) tables = count.Integer();
    EK_RETURN_IF_ERROR(count.status());
  }
  if (layout == 0 && tables == 0 && may_be_new) return Exec(kCreate);
  if (layout == 0 && tables == 0) {
    return Unavailable(
        "the file of API keys '{}' is empty, as one is whose making was cut short: `evenkeel key "
        "create` goes on with it; if keys were ever made, put a copy back",
        path_);
  }
  if (layout == 0) return Damaged(path_, "it holds no table of keys");
  if (layout != kLayout) {
    return Unavailable("the API keys in '{}' have layout {}, expected {}: a newer evenkeel made it",
                       path_, layout, kLayout);
  }
  Statement check(*this, "PRAGMA quick_check(1)");
  const std::string said = check.Step() ? check.Text() : std::string();
  EK_RETURN_IF_ERROR(check.status());
  return said == "ok" ? Status() : Damaged(path_, said);
}

int64_t KeyDatabase::changed_rows() const { return ::sqlite3_changes64(db_.get()); }

}  // namespace evenkeel
