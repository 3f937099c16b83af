#include "llm/policy/slot_table.h"

#include <algorithm>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

// Fewer are not worth a slot.
constexpr size_t kLeastKept = 8;

int CommonLength(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<int>(ends.first - a.begin());
}

}  // namespace

SlotTable::SlotTable(int slots, int cells, bool keeps, std::function<void(int)> release)
    : cells_(cells),
      keeps_(keeps),
      release_(std::move(release)),
      slots_(static_cast<size_t>(slots)) {
  EK_CHECK(slots > 0 && cells > 0);
}

int SlotTable::running() const {
  return static_cast<int>(
      std::ranges::count_if(slots_, [](const Slot& s) { return s.use == Use::kRunning; }));
}

int SlotTable::held_cells() const {
  int cells = 0;
  for (const Slot& slot : slots_) cells += static_cast<int>(slot.tokens.size());
  return cells;
}

int SlotTable::Kept() const {
  int cells = 0;
  for (const Slot& slot : slots_) cells += slot.use == Use::kKept ? slot.booked : 0;
  return cells;
}

int SlotTable::LeastValuable(int except) const {
  int worst = -1;
  double least = 0;
  for (int i = 0; i < static_cast<int>(slots_.size()); ++i) {
    const Slot& slot = slots_[static_cast<size_t>(i)];
    if (slot.use != Use::kKept || i == except) continue;
    const double value =
        static_cast<double>(slot.tokens.size()) / static_cast<double>(clock_ - slot.used + 1);
    if (worst < 0 || value < least) {
      worst = i;
      least = value;
    }
  }
  return worst;
}

void SlotTable::Free(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  booked_ -= s.booked;
  s = Slot{};
  release_(slot);
}

bool SlotTable::MakeRoom(int cells, int except) {
  while (free_cells() < cells) {
    const int victim = LeastValuable(except);
    if (victim < 0) return false;
    Free(victim);
  }
  return true;
}

std::optional<SlotTable::Place> SlotTable::Acquire(std::span<const int32_t> tokens, int book) {
  EK_CHECK(!tokens.empty() && book >= static_cast<int>(tokens.size()) && book <= cells_);
  ++clock_;
  // Everything kept may go: is there room then?
  if (free_cells() + Kept() < book) return std::nullopt;
  const auto is_running = [](const Slot& s) { return s.use == Use::kRunning; };
  if (std::ranges::all_of(slots_, is_running)) return std::nullopt;

  int best = -1;
  int shared = 0;
  if (keeps_) {
    const auto wanted = tokens.first(tokens.size() - 1);
    for (int i = 0; i < static_cast<int>(slots_.size()); ++i) {
      const int common = CommonLength(wanted, slots_[static_cast<size_t>(i)].tokens);
      // A kept slot is the better source: it can be taken over.
      const bool better =
          common > shared || (common == shared && common > 0 && best >= 0 &&
                              slots_[static_cast<size_t>(best)].use == Use::kRunning);
      if (better) {
        best = i;
        shared = common;
      }
    }
  }
  Place place;
  place.reused = shared;
  const auto at = [&](int i) -> Slot& { return slots_[static_cast<size_t>(i)]; };
  const auto free = std::ranges::find_if(slots_, [](const Slot& s) { return s.use == Use::kFree; });
  const bool mostly = best >= 0 && 2 * static_cast<size_t>(shared) >= at(best).tokens.size();
  const bool fits_beside =
      best >= 0 && at(best).use == Use::kKept && free != slots_.end() && free_cells() >= book;
  if (best >= 0 && at(best).use == Use::kKept && (mostly || !fits_beside)) {
    place.slot = best;  // goes on where it ended; a tail that differs is forgotten
    booked_ -= at(best).booked;
    at(best).booked = 0;
  } else {
    place.copy_from = best;
    if (free == slots_.end()) {
      const int victim = LeastValuable(best);
      EK_CHECK(victim >= 0);
      Free(victim);
      place.slot = victim;
    } else {
      place.slot = static_cast<int>(free - slots_.begin());
    }
  }
  const bool room = MakeRoom(book, best);
  EK_CHECK(room);
  Slot& slot = at(place.slot);
  slot.use = Use::kRunning;
  slot.booked = book;
  slot.used = clock_;
  slot.tokens.assign(tokens.begin(), tokens.begin() + shared);
  booked_ += book;
  EK_CHECK(booked_ <= cells_);
  return place;
}

bool SlotTable::Grow(int slot, int book) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  EK_CHECK(s.use == Use::kRunning);
  if (book <= s.booked) return true;
  if (!MakeRoom(book - s.booked, slot)) return false;
  booked_ += book - s.booked;
  s.booked = book;
  return true;
}

void SlotTable::Computed(int slot, std::span<const int32_t> tokens) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
  s.used = ++clock_;
  EK_CHECK(s.use == Use::kRunning && static_cast<int>(s.tokens.size()) <= s.booked);
}

void SlotTable::Keep(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  EK_CHECK(s.use == Use::kRunning);
  // The same tokens once are enough.
  const auto holds_more = [&](const Slot& other) {
    return &other != &s && other.tokens.size() >= s.tokens.size() &&
           CommonLength(s.tokens, other.tokens) == static_cast<int>(s.tokens.size());
  };
  if (!keeps_ || s.tokens.size() < kLeastKept || std::ranges::any_of(slots_, holds_more)) {
    return Free(slot);
  }
  booked_ -= s.booked - static_cast<int>(s.tokens.size());
  s.booked = static_cast<int>(s.tokens.size());
  s.use = Use::kKept;
}

void SlotTable::Drop(int slot) {
  EK_CHECK(slots_[static_cast<size_t>(slot)].use == Use::kRunning);
  Free(slot);
}

}  // namespace evenkeel::policy
