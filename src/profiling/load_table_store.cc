#include "profiling/load_table_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>

#include "containers/shape.h"
#include "core/format.h"
#include "profiling/model_profile.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr int kLayout = 1;  // PRAGMA user_version
constexpr const char* kCreate =
    "CREATE TABLE IF NOT EXISTS load_rows ("
    " model TEXT NOT NULL, digest TEXT NOT NULL, machine TEXT NOT NULL, setup TEXT NOT NULL,"
    " milli_cores INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, gpu_cores INTEGER NOT NULL,"
    " gpu_memory_bytes INTEGER NOT NULL, batch INTEGER NOT NULL, precision TEXT NOT NULL,"
    " inputs TEXT NOT NULL, outcome TEXT NOT NULL, batchtime_us REAL NOT NULL,"
    " p50_us REAL NOT NULL, p99_us REAL NOT NULL, nobatchtime_us REAL NOT NULL,"
    " peak_memory_bytes INTEGER NOT NULL, runs INTEGER NOT NULL, difference_max REAL NOT NULL,"
    " difference_mean REAL NOT NULL, detail TEXT NOT NULL, measured_s INTEGER NOT NULL,"
    " major_faults INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (model, digest, machine, setup, milli_cores, memory_bytes, gpu_cores,"
    " gpu_memory_bytes, batch, precision)) WITHOUT ROWID";
// Came later, in rows and beside rows of the same layout.
constexpr const char* kAddFaults =
    "ALTER TABLE load_rows ADD COLUMN major_faults INTEGER NOT NULL DEFAULT 0";
constexpr const char* kCreateChoices =
    "CREATE TABLE IF NOT EXISTS choices ("
    " model TEXT NOT NULL, digest TEXT NOT NULL, machine TEXT NOT NULL, setup TEXT NOT NULL,"
    " stamp TEXT NOT NULL, milli_cores INTEGER NOT NULL, memory_bytes INTEGER NOT NULL,"
    " gpu_cores INTEGER NOT NULL, gpu_memory_bytes INTEGER NOT NULL, batch INTEGER NOT NULL,"
    " precision TEXT NOT NULL, times TEXT NOT NULL, why TEXT NOT NULL, chosen_s INTEGER NOT NULL,"
    " PRIMARY KEY (model, digest, machine, setup)) WITHOUT ROWID";
constexpr const char* kCreateLanguageTables =
    "CREATE TABLE IF NOT EXISTS language_tables ("
    " model TEXT NOT NULL, digest TEXT NOT NULL, machine TEXT NOT NULL, setup TEXT NOT NULL,"
    " stamp TEXT NOT NULL, document TEXT NOT NULL, measured_s INTEGER NOT NULL,"
    " PRIMARY KEY (model, digest, machine, setup)) WITHOUT ROWID";
constexpr const char* kSelectChoice =
    "SELECT model, digest, machine, setup, stamp, milli_cores, memory_bytes, gpu_cores,"
    " gpu_memory_bytes, batch, precision, times, why FROM choices ";
constexpr const char* kSelect =
    "SELECT model, digest, machine, setup, milli_cores, memory_bytes, gpu_cores, gpu_memory_bytes,"
    " batch, precision, inputs, outcome, batchtime_us, p50_us, p99_us, nobatchtime_us,"
    " peak_memory_bytes, runs, difference_max, difference_mean, detail, major_faults"
    " FROM load_rows ";

// "1:1000:1200 2:1800:2000": rows, mean and p99 in nanoseconds.
std::string TimesText(const std::vector<TimedSize>& times) {
  std::string text;
  for (const TimedSize& size : times)
    text += fmt::format("{}:{}:{} ", size.rows, size.mean.count(), size.p99.count());
  return text;
}

std::vector<TimedSize> TimesFrom(const std::string& text) {
  std::istringstream in(text);
  std::vector<TimedSize> times;
  int rows = 0;
  int64_t mean = 0, p99 = 0;
  char colon = 0;
  while (in >> rows >> colon >> mean >> colon >> p99) {
    if (rows < 1 || mean <= 0 || p99 < mean) return {};
    times.push_back({rows, Duration(mean), Duration(p99)});
  }
  return times;
}

bool IsDamage(int code) {
  const int primary = code & 0xff;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_FORMAT;
}

}  // namespace

// A prepared statement, filled from the left and read from the left.
struct LoadTableStore::Statement {
  Statement(sqlite3* db, const std::string& sql) : db_(db) {
    code = ::sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr);
  }
  ~Statement() { ::sqlite3_finalize(statement); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& operator<<(const std::string& text) {
    ::sqlite3_bind_text(statement, ++bound, text.data(), static_cast<int>(text.size()),
                        SQLITE_TRANSIENT);
    return *this;
  }
  Statement& operator<<(int64_t value) {
    ::sqlite3_bind_int64(statement, ++bound, value);
    return *this;
  }
  Statement& operator<<(double value) {
    ::sqlite3_bind_double(statement, ++bound, value);
    return *this;
  }
  // True: a row is there.
  bool Step() {
    if (code == SQLITE_OK || code == SQLITE_ROW) code = ::sqlite3_step(statement);
    column = 0;
    return code == SQLITE_ROW;
  }
  std::string Text() {
    const auto* text = reinterpret_cast<const char*>(::sqlite3_column_text(statement, column));
    const int size = ::sqlite3_column_bytes(statement, column++);
    return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(size));
  }
  int64_t Integer() { return ::sqlite3_column_int64(statement, column++); }
  double Real() { return ::sqlite3_column_double(statement, column++); }
  Status status() const {
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return Status::Ok();
    return Unavailable("load tables: {}", ::sqlite3_errmsg(db_));
  }

  sqlite3* db_;
  sqlite3_stmt* statement = nullptr;
  int code = SQLITE_OK;
  int bound = 0, column = 0;
};

Status LoadTableStore::Exec(const char* sql) const {
  if (::sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return Status::Ok();
  return Unavailable("load tables: {}", ::sqlite3_errmsg(db_));
}

// Of an older program's file, which is not damaged.
Status LoadTableStore::AddColumns() {
  const auto has = [this](const char* query) { return Statement(db_, query).code == SQLITE_OK; };
  constexpr const char* kFaults = "SELECT major_faults FROM load_rows LIMIT 1";
  if (has(kFaults) || !has("SELECT measured_s FROM load_rows LIMIT 1")) return Status::Ok();
  const Status added = Exec(kAddFaults);
  // Somebody else may have done it meanwhile.
  return has(kFaults) ? Status::Ok() : added;
}

Status LoadTableStore::Prepare(bool* damaged) {
  ::sqlite3_busy_timeout(db_, 5000);
  ::sqlite3_extended_result_codes(db_, 1);
  int64_t layout = 0;
  {
    Statement version(db_, "PRAGMA user_version");
    if (version.Step()) layout = version.Integer();
    *damaged = IsDamage(version.code) || (layout != 0 && layout != kLayout);
    if (layout != 0 && layout != kLayout)
      return Unavailable("load tables: layout {}, expected {}", layout, kLayout);
    EK_RETURN_IF_ERROR(version.status());
  }
  {
    Statement check(db_, "PRAGMA quick_check(1)");
    const bool row = check.Step();
    const std::string said = row ? check.Text() : std::string();
    *damaged = IsDamage(check.code) || (row && said != "ok");
    if (*damaged) return Unavailable("load tables: {}", row ? said : ::sqlite3_errmsg(db_));
    EK_RETURN_IF_ERROR(check.status());
  }
  EK_RETURN_IF_ERROR(Exec(kCreate));
  EK_RETURN_IF_ERROR(Exec(kCreateChoices));
  EK_RETURN_IF_ERROR(AddColumns());
  EK_RETURN_IF_ERROR(Exec(kCreateLanguageTables));
  EK_RETURN_IF_ERROR(Exec(fmt::format("PRAGMA user_version = {}", kLayout).c_str()));
  // The table may be there with other columns.
  Statement select(db_, std::string(kSelect) + "LIMIT 1");
  Statement choice(db_, std::string(kSelectChoice) + "LIMIT 1");
  *damaged = select.code == SQLITE_ERROR || choice.code == SQLITE_ERROR;
  EK_RETURN_IF_ERROR(select.status());
  EK_RETURN_IF_ERROR(choice.status());
  // A file or folder that cannot be written shows here, not at the first row.
  EK_RETURN_IF_ERROR(Exec("BEGIN IMMEDIATE"));
  return Exec("COMMIT");
}

Result<std::unique_ptr<LoadTableStore>> LoadTableStore::TryOpen(const std::string& path,
                                                                bool* damaged) {
  *damaged = false;
  sqlite3* db = nullptr;
  const int code = ::sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
      nullptr);
  std::unique_ptr<LoadTableStore> store(new LoadTableStore(db, path != ":memory:"));
  if (code != SQLITE_OK) {
    *damaged = IsDamage(code);
    return Unavailable("{}", db == nullptr ? "out of memory" : ::sqlite3_errmsg(db));
  }
  EK_RETURN_IF_ERROR(store->Prepare(damaged));
  return store;
}

std::unique_ptr<LoadTableStore> LoadTableStore::Open(const std::string& path,
                                                     std::vector<std::string>* warnings) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  bool damaged = false;
  auto store = TryOpen(path, &damaged);
  if (!store.ok() && damaged) {
    const std::string aside = path + ".bad";
    fs::rename(path, aside, error);
    if (!error) {
      // Its journal belongs to it, and would be replayed into the new file.
      fs::rename(path + "-journal", aside + "-journal", error);
      warnings->push_back(
          fmt::format("the load tables in '{}' are damaged ({}): set aside as '{}', "
                      "a new file is begun",
                      path, store.status().message(), aside));
      store = TryOpen(path, &damaged);
    }
  }
  if (store.ok()) return std::move(*store);
  warnings->push_back(
      fmt::format("load tables cannot be kept in '{}' ({}): this run's are lost "
                  "when it ends",
                  path, store.status().message()));
  store = TryOpen(":memory:", &damaged);
  return std::move(*store);
}

LoadTableStore::~LoadTableStore() { ::sqlite3_close(db_); }

Status LoadTableStore::Put(const TableKey& key, const std::string& inputs, const LoadRow& row) {
  Statement put(db_,
                "INSERT OR REPLACE INTO load_rows VALUES "
                "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  const CellShape& shape = row.cell.shape;
  put << key.model << key.digest << key.machine << key.setup << int64_t{shape.milli_cores}
      << shape.memory_bytes << int64_t{shape.gpu_cores} << shape.gpu_memory_bytes
      << int64_t{row.cell.batch} << std::string(NameOf(row.cell.precision)) << inputs
      << std::string(NameOf(row.outcome)) << row.batch_us << row.p50_us << row.p99_us
      << row.no_batch_us << row.peak_memory_bytes << row.runs << row.diff_max << row.diff_mean
      << row.detail << static_cast<int64_t>(std::time(nullptr)) << row.major_faults;
  put.Step();
  return put.status();
}

Result<std::vector<LoadTable>> LoadTableStore::Query(const std::string& where,
                                                     const std::vector<std::string>& values,
                                                     std::string_view beside) const {
  Statement select(db_, kSelect + where);
  for (const std::string& value : values) select << value;
  std::vector<LoadTable> tables;
  while (select.Step()) {
    TableKey key{select.Text(), select.Text(), select.Text(), select.Text()};
    LoadRow row;
    CellShape& shape = row.cell.shape;
    shape.milli_cores = static_cast<int>(select.Integer());
    shape.memory_bytes = select.Integer();
    shape.gpu_cores = static_cast<int>(select.Integer());
    shape.gpu_memory_bytes = select.Integer();
    row.cell.batch = static_cast<int>(select.Integer());
    row.cell.precision = select.Text() == "bf16" ? Precision::kBf16 : Precision::kF32;
    const std::string inputs = select.Text();
    if (!ParseOutcome(select.Text(), &row.outcome)) row.outcome = CellOutcome::kError;
    row.batch_us = select.Real();
    row.p50_us = select.Real();
    row.p99_us = select.Real();
    row.no_batch_us = select.Real();
    row.peak_memory_bytes = select.Integer();
    row.runs = select.Integer();
    row.diff_max = select.Real();
    row.diff_mean = select.Real();
    row.detail = select.Text();
    row.major_faults = select.Integer();
    if (!beside.empty() && !InputsStand(inputs, beside)) continue;
    auto table = std::ranges::find(tables, key, &LoadTable::key);
    if (table == tables.end()) table = tables.insert(tables.end(), LoadTable{key, inputs, {}});
    if (inputs != kFromSamples) table->inputs = inputs;
    table->rows.push_back(std::move(row));
  }
  if (!select.status().ok()) return select.status();
  return tables;
}

Result<LoadTable> LoadTableStore::Get(const TableKey& key, std::string_view beside) const {
  auto tables = Query("WHERE model = ? AND digest = ? AND machine = ? AND setup = ?",
                      {key.model, key.digest, key.machine, key.setup}, beside);
  if (!tables.ok()) return tables.status();
  if (tables->empty()) return LoadTable{key, {}, {}};
  return std::move(tables->front());
}

Result<std::vector<LoadTable>> LoadTableStore::All(const std::string& model) const {
  return Query("WHERE ?1 = '' OR model = ?1 ORDER BY measured_s DESC", {model});
}

Status LoadTableStore::Remove(const TableKey& key) {
  Statement remove(db_,
                   "DELETE FROM load_rows WHERE model = ? AND digest = ? AND machine = ? AND setup "
                   "= ?");
  remove << key.model << key.digest << key.machine << key.setup;
  remove.Step();
  return remove.status();
}

Status LoadTableStore::RemoveMadeUp(const TableKey& key) {
  Statement remove(db_,
                   "DELETE FROM load_rows WHERE model = ? AND digest = ? AND machine = ? AND setup "
                   "= ? AND inputs <> ?");
  remove << key.model << key.digest << key.machine << key.setup << std::string(kFromSamples);
  remove.Step();
  return remove.status();
}

Status LoadTableStore::PutChoice(const StoredChoice& choice) {
  Statement put(db_, "INSERT OR REPLACE INTO choices VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  const CellShape& shape = choice.cell.shape;
  put << choice.key.model << choice.key.digest << choice.key.machine << choice.key.setup
      << choice.stamp << int64_t{shape.milli_cores} << shape.memory_bytes
      << int64_t{shape.gpu_cores} << shape.gpu_memory_bytes << int64_t{choice.cell.batch}
      << std::string(NameOf(choice.cell.precision)) << TimesText(choice.times) << choice.why
      << static_cast<int64_t>(std::time(nullptr));
  put.Step();
  return put.status();
}

Status LoadTableStore::PutLanguageTable(const TableKey& key, const std::string& stamp,
                                        const std::string& document) {
  Statement put(db_, "INSERT OR REPLACE INTO language_tables VALUES (?,?,?,?,?,?,?)");
  put << key.model << key.digest << key.machine << key.setup << stamp << document
      << static_cast<int64_t>(std::time(nullptr));
  put.Step();
  return put.status();
}

Result<std::optional<std::string>> LoadTableStore::FindLanguageTable(
    const TableKey& key, const std::string& stamp) const {
  Statement select(db_,
                   "SELECT document FROM language_tables WHERE model = ? AND machine = ? AND "
                   "setup = ? AND stamp = ? ORDER BY measured_s DESC LIMIT 1");
  select << key.model << key.machine << key.setup << stamp;
  if (select.Step()) return std::optional(select.Text());
  if (!select.status().ok()) return select.status();
  return std::optional<std::string>();
}

Status LoadTableStore::RemoveChoices(const std::string& model, const std::string& stamp) {
  Statement remove(db_, "DELETE FROM choices WHERE model = ? AND stamp = ?");
  remove << model << stamp;
  remove.Step();
  return remove.status();
}

Result<std::optional<StoredChoice>> LoadTableStore::FindChoice(const std::string& model,
                                                               const std::string& stamp,
                                                               const std::string& machine,
                                                               const std::string& setup) const {
  Statement select(db_, std::string(kSelectChoice) +
                            "WHERE model = ? AND stamp = ? AND machine = ? AND "
                            "substr(setup, 1, length(?4)) = ?4 ORDER BY chosen_s DESC LIMIT 1");
  select << model << stamp << machine << setup;
  if (!select.Step()) {
    if (!select.status().ok()) return select.status();
    return std::optional<StoredChoice>();
  }
  StoredChoice choice;
  choice.key = {select.Text(), select.Text(), select.Text(), select.Text()};
  choice.stamp = select.Text();
  CellShape& shape = choice.cell.shape;
  shape.milli_cores = static_cast<int>(select.Integer());
  shape.memory_bytes = select.Integer();
  shape.gpu_cores = static_cast<int>(select.Integer());
  shape.gpu_memory_bytes = select.Integer();
  choice.cell.batch = static_cast<int>(select.Integer());
  choice.cell.precision = select.Text() == "bf16" ? Precision::kBf16 : Precision::kF32;
  choice.times = TimesFrom(select.Text());
  choice.why = select.Text();
  // Somebody may have written it by hand.
  const bool sane = shape.milli_cores >= kMinMilliCores && shape.milli_cores <= kMaxMilliCores &&
                    shape.memory_bytes >= kMinShapeMemory && choice.cell.batch >= 1;
  return sane ? std::optional(std::move(choice)) : std::nullopt;
}

}  // namespace evenkeel
