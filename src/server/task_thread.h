// A thread that runs posted tasks one after the other: for work that blocks on the file system.
//
// Contract: tasks run in order; the destructor runs what was posted, then joins. Thread-safety: thread-safe.
#pragma once

#include "server/task_pool.h"

namespace evenkeel {

class TaskThread : public TaskPool {
 public:
  TaskThread() : TaskPool(1) {}
};

}  // namespace evenkeel
