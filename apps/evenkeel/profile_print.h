// What `evenkeel profile` prints: the table, the choices and their explanations, and the live view while it runs.
//
// Contract: data goes to stdout; the live view and its progress bar to stderr, and only where AnimationAllowed() says so, and are gone when it ends.
// Thread-safety: main thread only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "profile_options.h"
#include "profiling/load_table.h"
#include "profiling/policy/choice.h"
#include "profiling/policy/select_class.h"
#include "profiling/policy/select_precision.h"
#include "profiling/policy/sweep_plan.h"

namespace evenkeel {

// A rule's answer, under the name it is printed with.
struct NamedChoice {
  std::string rule;   // "method", "objective"
  std::string asked;  // "threshold 0.8", "p99 within 50 ms at 0.7 of its capacity"
  Choice choice;
};

struct ProfileReport {
  LoadTable table;  // measured and implied rows
  std::vector<NamedChoice> choices;
  std::optional<ClassChoice> classes;        // of models whose class is gpu or auto
  std::optional<PrecisionChoice> precision;  // of models that leave it open
  size_t cells = 0;                          // of the grid
  size_t run_now = 0;                        // measured in this run
  size_t run_before = 0;                     // taken from an earlier one
  double seconds = 0;
};

void PrintReport(const ProfileReport& report, ProfileFormat format, bool explain);
nlohmann::ordered_json ReportJson(const ProfileReport& report);

// "batch 16 on 1c/512MiB in bf16, 3.1 ms a batch, 5160 items/s"
std::string ChosenText(const ProfileReport& report, const Choice& choice);

// The live view of a sweep.
class ProfileProgress {
 public:
  explicit ProfileProgress(const SweepPlan& plan);
  ~ProfileProgress();
  void Begin(const Cell& cell);
  void Done();

 private:
  void Draw();
  void Erase();

  const SweepPlan& plan_;
  const bool live_;
  Time started_;
  size_t before_;  // rows that an earlier run left
  Cell cell_;
  size_t lines_ = 0;  // drawn and not erased
};

}  // namespace evenkeel
