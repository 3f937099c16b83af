// Which of a context's sequence slots holds which tokens, and how many cells of its cache are spoken for.
//
// A slot is free, running (a sequence computes in it), or kept: its sequence ended and its tokens stay, for a prompt that begins like them.
// Cells are booked by length, shared or not: what is booked never exceeds `cells`, so that a step never lacks one. Kept slots count with their
// length and give way, the least valuable first (tokens over age), whenever a running one needs cells or a slot.
// Contract: pure bookkeeping: the caller carries out what the answers say, at once. Units: cells = tokens; ages in steps.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace evenkeel::policy {

class SlotTable {
 public:
  // `release`: the cache forgets all of that slot. Called from within Acquire(), Grow(), Drop().
  SlotTable(int slots, int cells, bool keeps, std::function<void(int slot)> release);

  struct Place {
    int slot = 0;
    int copy_from =
        -1;  // slot whose first `reused` tokens are to be copied into `slot`; -1: they lie there already
    int reused =
        0;  // tokens that need not be computed; what the slot holds beyond is to be forgotten
  };
  // A slot for a sequence that begins with `tokens` (at least one, of which the last is always computed) and is to have `book` cells,
  // at least tokens.size(). nullopt: no room now, and nothing was changed. REQUIRES: book <= cells.
  std::optional<Place> Acquire(std::span<const int32_t> tokens, int book);
  // The running slot is to have `book` cells. False: no room now.
  bool Grow(int slot, int book);
  // Tokens that were computed in a running slot, in order. REQUIRES: they fit what is booked.
  void Computed(int slot, std::span<const int32_t> tokens);
  // The sequence ended: its tokens stay if they may be of use.
  void Keep(int slot);
  // The sequence ended or is put off, and what the slot holds is forgotten.
  void Drop(int slot);

  int free_cells() const { return cells_ - booked_; }
  int running() const;
  int booked(int slot) const { return slots_[static_cast<size_t>(slot)].booked; }
  int held_cells() const;  // by tokens, running or kept
  int cells() const { return cells_; }

 private:
  enum class Use : uint8_t { kFree, kRunning, kKept };
  struct Slot {
    Use use = Use::kFree;
    int booked = 0;  // running: as asked; kept: tokens.size()
    std::vector<int32_t> tokens;
    uint64_t used = 0;  // clock_ when it ran last
  };

  int LeastValuable(int except) const;
  bool MakeRoom(int cells, int except);
  void Free(int slot);
  int Kept() const;

  const int cells_;
  const bool keeps_;
  const std::function<void(int)> release_;
  std::vector<Slot> slots_;
  int booked_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace evenkeel::policy
