// The layout of the memory that daemon and worker share, and the checks of what is read from it.
//
// One memfd an instance: a control page, then kSlots slots, each a SlotHeader page followed by an input arena and an output arena.
//   [Control | Slot 0: header, inputs, outputs | Slot 1: header, inputs, outputs]
// Arenas are sparse: address space is reserved, pages exist once touched. The file is sealed against resizing, so neither side can make
// the other fault. Neither side trusts the other's header: it is copied out, then checked (ReadDescs).
// Protocol: the daemon fills slot s, stores state = kReady (release), writes the wake eventfd; the worker runs the slots in turn
// (0, 1, 0, 1 ...), stores kDone (release), writes the done eventfd; the daemon scatters and stores kFree.
// Units: offsets and sizes are bytes from the start of the arena. Thread-safety: one daemon thread and one worker thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel::ipc {

inline constexpr uint32_t kMagic = 0x454b5031;  // "EKP1"
inline constexpr uint32_t kSlots = 2;
inline constexpr uint32_t kMaxTensors = 128;
inline constexpr size_t kMaxMessage = 1000;
inline constexpr size_t kAlign = 64;

enum class SlotState : uint32_t { kFree = 0, kReady = 1, kDone = 2 };

struct TensorDesc {
  uint8_t dtype;
  uint8_t rank;
  uint16_t spec;
  uint32_t reserved;
  int64_t dims[kMaxRank];
  uint64_t offset;
  uint64_t bytes;
};

struct SlotHeader {
  std::atomic<uint32_t> state;  // SlotState
  uint32_t input_count;
  uint32_t output_count;
  uint32_t code;  // Code of the run
  uint64_t batch_id;
  uint64_t rows;              // for warm-up runs too
  uint64_t start_ns, end_ns;  // CLOCK_MONOTONIC around Engine::Run
  uint32_t message_size;
  char message[kMaxMessage];
  TensorDesc inputs[kMaxTensors];
  TensorDesc outputs[kMaxTensors];
};

struct Control {
  uint32_t magic;
  uint32_t slots;
  uint64_t input_capacity, output_capacity;  // of one slot's arenas
};

// Where the parts of a region with these arena sizes lie. All offsets are multiples of 4096.
struct Layout {
  size_t input_capacity = 0, output_capacity = 0;
  size_t header_offset(uint32_t slot) const;
  size_t input_offset(uint32_t slot) const;
  size_t output_offset(uint32_t slot) const;
  size_t total() const;
};

// Copies `count` descriptors out of shared memory and checks them against the arena: count, rank, dtype, dims >= 0, sizes that
// follow from dtype and shape (BYTES: element lengths stay inside), offset + bytes within the arena. Views point into `arena`.
// Errors: kInternal naming the field, what was expected and what came.
Status ReadDescs(const TensorDesc* descs, uint32_t count, std::span<const std::byte> arena,
                 std::vector<TensorView>* out);

void WriteDesc(const TensorView& view, uint64_t offset, TensorDesc* out);

}  // namespace evenkeel::ipc
