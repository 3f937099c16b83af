// The shared region as mapped by one process: typed access to its parts.
//
// Contract: pages come into being when touched, in either process; the mapping is not inherited by children and not dumped.
// Thread-safety: thread-compatible.
#pragma once

#include <cstddef>
#include <span>

#include "core/status.h"
#include "ipc/frame.h"

namespace evenkeel::ipc {

class Region {
 public:
  Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  // Maps `fd`, which must be at least layout.total() bytes long and stays the caller's. Error: kUnavailable with errno's text.
  Status Map(int fd, const Layout& layout);

  // All below REQUIRE a successful Map() and slot < kSlots.
  Control* control() const { return reinterpret_cast<Control*>(base_); }
  SlotHeader* header(uint32_t slot) const {
    return reinterpret_cast<SlotHeader*>(base_ + layout_.header_offset(slot));
  }
  std::span<std::byte> input_arena(uint32_t slot) const {
    return {base_ + layout_.input_offset(slot), layout_.input_capacity};
  }
  std::span<std::byte> output_arena(uint32_t slot) const {
    return {base_ + layout_.output_offset(slot), layout_.output_capacity};
  }

 private:
  std::byte* base_ = nullptr;
  Layout layout_;
};

}  // namespace evenkeel::ipc
