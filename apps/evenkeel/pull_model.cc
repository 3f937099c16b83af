#include "pull_model.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/settings.h"
#include "figures.h"
#include "interrupt.h"
#include "output.h"
#include "pull_copy.h"
#include "repository/model_check.h"
#include "repository/paths.h"
#include "repository/scan.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStagingPrefix = ".pull-";
constexpr uint64_t kSpareBytes = uint64_t{64} << 20;  // left free on the disk
constexpr Duration kQuiet = std::chrono::seconds(2);  // shorter copies show no progress
constexpr Duration kRedraw = std::chrono::milliseconds(200);

// A folder below the models folder that no server looks into, gone when this is.
class Staging {
 public:
  explicit Staging(const std::string& models)
      : path_(fs::path(models) / (kStagingPrefix + std::to_string(::getpid()))) {}
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Status Make() {
    std::error_code error;
    fs::remove_all(path_, error);
    if (!fs::create_directory(path_, error))
      return Unavailable("{}: {}", path_.string(), error.message());
    return {};
  }
  const fs::path& path() const { return path_; }

 private:
  const fs::path path_;
};

// What a pull that was killed has left.
void RemoveLeftovers(const std::string& models) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(models, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStagingPrefix)) continue;
    const std::string digits = name.substr(std::strlen(kStagingPrefix));
    if (digits.empty() || digits.size() > 9 ||
        digits.find_first_not_of("0123456789") != std::string::npos)
      continue;
    if (::kill(std::stoi(digits), 0) == 0 || errno != ESRCH) continue;
    std::error_code ignored;
    fs::remove_all(entry.path(), ignored);
  }
}

std::string ModelsFolder(const PullOptions& options) {
  SettingSources sources = DefaultSources();
  if (!options.models.empty()) sources.flags.emplace_back("models", options.models);
  const Result<Settings> settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  const Setting& models = settings->at("models");
  std::error_code error;
  if (models.origin == "default") fs::create_directories(models.text, error);
  const Result<std::string> folder = CanonicalFolder(models.text);
  if (!folder.ok()) Fail(kExitUsage, folder.status().message());
  return *folder;
}

// Draws on a terminal, once it takes long enough to be worth it.
class ProgressLine {
 public:
  explicit ProgressLine(uint64_t total)
      : total_(total),
        shown_(::isatty(STDERR_FILENO) == 1),
        begin_(SteadyClock::Instance().Now()),
        last_(begin_) {}
  ~ProgressLine() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  void Report(uint64_t done) {
    const Time now = SteadyClock::Instance().Now();
    if (!shown_ || now - begin_ < kQuiet || now - last_ < kRedraw || done == 0) return;
    last_ = now;
    drawn_ = true;
    const double rate = static_cast<double>(done) / Seconds(now - begin_);
    const double left = static_cast<double>(total_ - std::min(done, total_)) / rate;
    std::fprintf(
        stderr, "\rcopying  %3.0f %%  %s of %s  %s/s  %.0f s left\033[K",
        100.0 * static_cast<double>(done) / static_cast<double>(std::max<uint64_t>(total_, 1)),
        HumanBytes(static_cast<double>(done)).c_str(),
        HumanBytes(static_cast<double>(total_)).c_str(), HumanBytes(rate).c_str(), left);
  }

 private:
  const uint64_t total_;
  const bool shown_;
  const Time begin_;
  Time last_;
  bool drawn_ = false;
};

Status CheckSpace(const std::string& models, uint64_t bytes) {
  struct statvfs disk {};
  if (::statvfs(models.c_str(), &disk) != 0) return {};
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free >= bytes + kSpareBytes) return {};
  return Unavailable("'{}' has {} free, the model needs {}", models,
                     HumanBytes(static_cast<double>(free)),
                     HumanBytes(static_cast<double>(bytes + kSpareBytes)));
}

// That the copy is the one model that it should be, by the server's own reading.
Status CheckCopy(const std::string& staging, const std::string& name, const std::string& path) {
  const std::vector<FoundModel> found = ScanModels(staging);
  if (found.empty())
    return InvalidArgument("{}: is no model that can be served (see: evenkeel serve --help)", path);
  if (found.size() > 1 || found[0].name != name)
    return InvalidArgument("{}: expected one model, found {}", path, found.size());
  EK_RETURN_IF_ERROR(found[0].status);
  for (const ModelConfig& version : found[0].versions) EK_RETURN_IF_ERROR(CheckModelFile(version));
  return {};
}

// Messages name what the user gave, not where the copy lay.
std::string WithoutStaging(std::string text, const std::string& staging) {
  for (size_t at = text.find(staging); at != std::string::npos; at = text.find(staging))
    text.erase(at, std::min(staging.size() + 1, text.size() - at));
  return text;
}

Status MoveIn(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
    return errno == EEXIST ? Conflict("'{}' is already there", to.string())
                           : Unavailable("{}: {}", to.string(), std::strerror(errno));
  const int folder = ::open(to.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

void Require(int code, const Status& status) {
  if (status.code() == Code::kCancelled) throw CLI::RuntimeError(kExitInterrupted);
  if (!status.ok()) Fail(code, status.message());
}

}  // namespace

PulledModel PullModel(const PullOptions& options) {
  const Result<PullPlan> plan = PlanPull(options.path);
  if (!plan.ok()) Fail(kExitFailed, plan.status().message());
  fs::path given = fs::path(options.path).lexically_normal();
  if (!given.has_filename()) given = given.parent_path();
  std::error_code error;
  const bool is_folder = fs::is_directory(given, error);
  const std::string name = !options.name.empty() ? options.name
                           : is_folder           ? given.filename().string()
                                                 : given.stem().string();
  if (!IsModelName(name))
    Fail(kExitUsage,
         fmt::format("'{}' cannot be a model's name: a letter or digit, then at most 127 "
                     "letters, digits, '.', '_' or '-'; choose one with --name",
                     name));
  const std::string models = ModelsFolder(options);
  if (FindModel(models, name).status().code() != Code::kNotFound)
    Fail(kExitFailed, fmt::format("'{}' has a model '{}' already; choose another name with --name, "
                                  "or remove it first",
                                  models, name));
  Require(kExitFailed, CheckSpace(models, plan->bytes));
  RemoveLeftovers(models);
  const std::string entry = plan->folder ? name : name + given.extension().string();
  const Interrupt interrupt;
  Staging staging(models);
  Require(kExitFailed, staging.Make());
  PullPlan copy = *plan;
  if (!plan->folder) copy.files[0].to = entry;
  const fs::path target = plan->folder ? staging.path() / entry : staging.path();
  Result<std::string> digest = Internal("not copied");
  {
    ProgressLine line(plan->bytes);
    fs::create_directory(target, error);
    digest =
        CopyPlan(copy, target.string(),
                 {[&](uint64_t done) { line.Report(done); }, [&] { return interrupt.came(); }});
  }
  Require(kExitFailed, digest.status());
  if (const Status checked = CheckCopy(staging.path().string(), name, options.path); !checked.ok())
    Fail(kExitFailed, WithoutStaging(checked.message(), staging.path().string()));
  Require(kExitFailed, MoveIn(staging.path() / entry, fs::path(models) / entry));
  return {name, *digest, plan->bytes, (fs::path(models) / entry).string()};
}

}  // namespace evenkeel
