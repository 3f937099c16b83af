// Language models' load tables in the state folder, beside those of other models (profiling/load_table_store.h): a document a model, file,
// engine build and machine.
//
// Contract: as LlmTables. The disk is touched by a thread of its own only. Found by the file's size and time of change; kept with the digest of
//   what it holds. What cannot be written is told once, and lost when the daemon ends. The destructor writes what was given before, too.
// Thread-safety: thread-safe. Source: A4, A7.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "containers/runtime.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "llm/llm_tables.h"
#include "profiling/load_table_store.h"
#include "server/task_thread.h"

namespace evenkeel {

class LanguageTables final : public LlmTables {
 public:
  // `state`: absolute folder. `machine`: fingerprint (profiling/machine.h). `rung`: of the workers. `found` of Find() comes on `loop`.
  LanguageTables(std::string state, std::string machine, Rung rung, EventLoop& loop);

  void Find(const LlmTableKey& key, std::function<void(std::optional<std::string>)> found) override;
  void Keep(const LlmTableKey& key, std::string document) override;
  // Blocks until what was given before is written.
  void Flush();

 private:
  std::optional<std::string> Read(const LlmTableKey& key);
  void Write(const LlmTableKey& key, const std::string& document);
  LoadTableStore& Store();
  std::string SetupOf(const LlmTableKey& key) const;
  void Warn(const std::string& why);

  const std::string state_, machine_;
  const Rung rung_;
  EventLoop& loop_;
  // The thread's only:
  std::unique_ptr<LoadTableStore> store_;
  std::map<std::string, std::string> digests_;  // by path and stamp
  bool warned_ = false;
  TaskThread thread_;  // last: it ends before what its tasks use
};

}  // namespace evenkeel
