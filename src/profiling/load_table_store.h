// Load tables on disk: a SQLite file in the state folder, one commit a row.
//
// Contract: Open() always gives a store. A file that is damaged or of another layout is set aside as FILE.bad and a new one begun; one
//   that cannot be opened or written is replaced by memory for this run; either is told in `warnings`. Put() is on disk when it
//   returns (a crash or `kill -9` loses at most the row that was being written). Several processes may use one file; a writer waits
//   up to 5 s for another.
// Errors: kUnavailable with SQLite's text.
// Thread-safety: thread-compatible. Source: A4, A7 (stored with the model).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "profiling/load_table.h"
#include "profiling/policy/drift.h"

struct sqlite3;

namespace evenkeel {

// The row that a model was given from its table, for the next start.
struct StoredChoice {
  TableKey key;
  std::string stamp;  // of the model's files; see model_digest.h
  Cell cell;
  std::vector<TimedSize> times;  // T(n) on the cell's shape and precision, ascending
  std::string why;
};

class LoadTableStore {
 public:
  // `path`: absolute; its folder is made when missing.
  static std::unique_ptr<LoadTableStore> Open(const std::string& path,
                                              std::vector<std::string>* warnings);
  ~LoadTableStore();

  bool on_disk() const { return on_disk_; }

  // Replaces the row of the same cell. `inputs`: see LoadTable.
  Status Put(const TableKey& key, const std::string& inputs, const LoadRow& row);
  // Empty when there is none. Rows by shape, batch, precision. `beside`: only rows that stand in a sweep with such inputs (InputsStand());
  // empty: all. A table counts as made up from the signature if one of its rows is.
  Result<LoadTable> Get(const TableKey& key, std::string_view beside = {}) const;
  // Every table of the model (all models: ""), newest row first.
  Result<std::vector<LoadTable>> All(const std::string& model) const;
  Status Remove(const TableKey& key);
  // Of its rows those that were not measured with sampled inputs.
  Status RemoveMadeUp(const TableKey& key);

  // Replaces the choice of the same key.
  Status PutChoice(const StoredChoice& choice);
  Status RemoveChoices(const std::string& model, const std::string& stamp);
  // The newest of this model, stamp and machine whose setup begins with `setup`. nullopt: none.
  Result<std::optional<StoredChoice>> FindChoice(const std::string& model, const std::string& stamp,
                                                 const std::string& machine,
                                                 const std::string& setup) const;

  // Of a language model: a document (llm/llm_table_json.h). Replaces that of the same key.
  Status PutLanguageTable(const TableKey& key, const std::string& stamp,
                          const std::string& document);
  // The newest of this model, machine, setup and stamp, whatever the digest. nullopt: none.
  Result<std::optional<std::string>> FindLanguageTable(const TableKey& key,
                                                       const std::string& stamp) const;

 private:
  struct Statement;
  LoadTableStore(sqlite3* db, bool on_disk) : db_(db), on_disk_(on_disk) {}
  static Result<std::unique_ptr<LoadTableStore>> TryOpen(const std::string& path, bool* damaged);
  Status Prepare(bool* damaged);
  Status AddColumns();
  Status Exec(const char* sql) const;
  Result<std::vector<LoadTable>> Query(const std::string& where,
                                       const std::vector<std::string>& values,
                                       std::string_view beside = {}) const;

  sqlite3* const db_;
  const bool on_disk_;
};

}  // namespace evenkeel
