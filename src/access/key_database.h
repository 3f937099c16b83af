// The SQLite side of KeyStore: one open file, statements, errors in words. Internal to access/.
//
// Contract: Open() never makes a file. Statements are filled from the left and read from the left.
// Errors: kUnavailable, naming the file.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace evenkeel {

class KeyDatabase {
 public:
  class Statement {
   public:
    Statement(KeyDatabase& db, const std::string& sql);
    ~Statement();
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;

    // What is bound stays with the caller until the statement goes.
    Statement& operator<<(std::string_view text);
    Statement& operator<<(std::span<const uint8_t> bytes);
    Statement& operator<<(int64_t value);
    // True: a row is there.
    bool Step();
    std::string Text();
    std::string Bytes();
    int64_t Integer();
    Status status() const;
    bool NameTaken() const;  // the last Step() broke the rule of one key in force a name
    bool IdTaken() const;

   private:
    KeyDatabase& db_;
    sqlite3_stmt* statement_ = nullptr;
    int code_ = 0;
    int bound_ = 0, column_ = 0;
  };

  static Result<KeyDatabase> Open(const std::string& path);

  // Error when the file is damaged, or not of this layout; an empty file is none unless `may_be_new`, and then gets it.
  // REQUIRES: Begin(), if it may be new.
  Status CheckLayout(bool may_be_new);
  // Readers and writers are shut out until Commit(), or until the object goes.
  Status Begin() { return Exec("BEGIN EXCLUSIVE"); }
  Status Commit() { return Exec("COMMIT"); }
  int64_t changed_rows() const;  // by the last statement

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  explicit KeyDatabase(std::string path) : path_(std::move(path)) {}
  Status Exec(const char* sql);
  Status Failure(int code) const;

  std::string path_;
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace evenkeel
