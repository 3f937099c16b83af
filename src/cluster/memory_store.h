// A KvStore in memory for many nodes, with every fault that a real one has, on a clock that the test moves: the same events at the same times give the same
// outcome.
//
// Use for: tests and simulation of membership. Not for: keeping anything.
// Contract: behaves as KvStore says and as etcd does: revisions, leases that lapse, watches that are told of a compaction. A request takes one hop to the
//   store and the answer one back; a call that is not answered within kCallTimeout fails. The ends that Connect() gave may outlive this object.
//   A node that is cut off: its calls fail by their timeout, what is on the way to it waits, its watches end after kDeadAfter.
// Thread-safety: single-owner (the loop).
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "cluster/kv_store.h"
#include "core/clock.h"
#include "core/event_loop.h"

namespace evenkeel {

class MemoryStore {
 public:
  static constexpr Duration kHop = std::chrono::microseconds(200);
  static constexpr Duration kCallTimeout = std::chrono::seconds(2);
  static constexpr Duration kDeadAfter = std::chrono::seconds(3);

  // All that the store holds, as a backup has it.
  struct Image;

  // `loop` and `clock` outlive this and every end.
  MemoryStore(EventLoop& loop, const Clock& clock);
  ~MemoryStore();

  // A node's end of the store. Faults go by the name.
  std::unique_ptr<KvStore> Connect(const std::string& node);

  void Cut(const std::string& node);
  void Heal(const std::string& node);
  // What comes to the node takes so much longer from now on.
  void Slow(const std::string& node, Duration by);
  // Nobody is answered for so long; then everything is, late.
  void Stall(Duration by);
  // As if the process was killed: connections break, calls are refused. Start() gives every lease its whole time again.
  void Stop();
  void Start();
  // Forgets the changes up to now: a watch from before is told so.
  void Compact();
  // Every lease that holds a key ending in `suffix` lapses now.
  void EndLeases(const std::string& suffix);
  std::shared_ptr<const Image> Save() const;
  // Stop(), then Start() with what was saved.
  void Restore(const Image& image);

  int64_t revision() const;

 private:
  struct State;
  class End;
  const std::shared_ptr<State> state_;
};

}  // namespace evenkeel
