#include "ipc/channel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "core/check.h"
#include "core/format.h"
#include "ipc/control_socket.h"
#include "ipc/region.h"
#include "ipc/unique_fd.h"

namespace evenkeel::ipc {
namespace {

Status ErrnoStatus(std::string_view what) {
  return Unavailable("{}: {}", what, std::generic_category().message(errno));
}

// What shared memory says may change between two reads: take each field once.
template <typename T>
T ReadOnce(const T& field) {
  return *static_cast<const volatile T*>(&field);
}

// The worker's text ends in answers and logs: printable ASCII only, whatever it wrote.
std::string CopyMessage(const SlotHeader& header) {
  const size_t size = std::min<size_t>(ReadOnce(header.message_size), kMaxMessage);
  std::string text(size, '\0');
  std::memcpy(text.data(), header.message, size);
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = c == '\n' || c == '\t' ? ' ' : '?';
  }
  return text;
}

Status CheckAgainst(std::span<const TensorSpec> specs, std::span<const TensorView> views) {
  if (views.size() != specs.size()) {
    return Internal("worker gave {} outputs, the model has {}", views.size(), specs.size());
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const TensorView& view = views[i];
    bool fits = view.dtype == spec.dtype && view.shape.rank() == spec.shape.rank();
    for (int d = 0; fits && d < spec.shape.rank(); ++d) {
      fits = spec.shape[d] == kDynamic || spec.shape[d] == view.shape[d];
    }
    if (!fits) {
      return Internal("output '{}': expected {} {}, worker gave {} {}", spec.name,
                      NameOf(spec.dtype), spec.shape.ToString(), NameOf(view.dtype),
                      view.shape.ToString());
    }
  }
  return Status::Ok();
}

class SharedChannel final : public Channel {
 public:
  Status Init(const Layout& layout);

  WorkerFds worker_fds() const override {
    return {memory_.get(), wake_.get(), done_.get(), worker_control_.get(), false};
  }
  void CloseWorkerEnds() override {
    // The eventfds stay: this side writes one and reads the other. Only the socket's end tells who is alive.
    worker_control_.Close();
    memory_.Close();
  }

  int control_fd() const override { return control_->fd(); }
  int done_fd() const override { return done_.get(); }
  Status SendControl(std::string_view message) override { return control_->Send(message, false); }
  Result<std::optional<std::string>> ReceiveControl() override { return control_->Receive(); }

  void Expect(std::span<const TensorSpec> outputs) override {
    expected_.assign(outputs.begin(), outputs.end());
    expecting_ = true;
  }

  int free_slots() const override;
  uint32_t Reserve() override;
  void Abandon(uint32_t slot) override;
  std::span<std::byte> input_arena(uint32_t slot) override { return region_.input_arena(slot); }
  void Submit(uint32_t slot, uint64_t batch_id, std::span<const TensorView> inputs) override;
  void DrainDone() override;
  std::optional<Completion> Poll() override;
  void Release(uint32_t slot) override;

 private:
  enum class Use : uint8_t { kFree, kReserved, kSubmitted, kHeld };
  // This side's own book: what the region says of a slot is never used to decide what it is used for.
  struct Slot {
    Use use = Use::kFree;
    uint64_t batch_id = 0;
    Time submitted{};
  };

  void ReadTimes(const SlotHeader& header, const Slot& slot, Completion* completion) const;

  Region region_;
  UniqueFd memory_, wake_, done_, worker_control_;
  std::optional<ControlSocket> control_;
  std::array<Slot, kSlots> slots_;
  uint32_t next_reserve_ = 0;
  uint32_t next_poll_ = 0;
  std::vector<TensorSpec> expected_;
  bool expecting_ = false;
};

Status SharedChannel::Init(const Layout& layout) {
  memory_ = UniqueFd(::memfd_create("evenkeel-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (memory_.get() < 0) return ErrnoStatus("memfd_create");
  if (::ftruncate(memory_.get(), static_cast<off_t>(layout.total())) != 0) {
    return ErrnoStatus("ftruncate of the shared region");
  }
  if (::fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrnoStatus("sealing the shared region");
  }
  EK_RETURN_IF_ERROR(region_.Map(memory_.get(), layout));
  region_.control()->magic = kMagic;
  region_.control()->slots = kSlots;
  region_.control()->input_capacity = layout.input_capacity;
  region_.control()->output_capacity = layout.output_capacity;

  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  done_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake_.get() < 0 || done_.get() < 0) return ErrnoStatus("eventfd");
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return ErrnoStatus("socketpair");
  }
  control_.emplace(UniqueFd(pair[0]));
  worker_control_ = UniqueFd(pair[1]);
  return Status::Ok();
}

int SharedChannel::free_slots() const {
  int count = 0;
  for (uint32_t i = 0; i < kSlots; ++i) {
    if (slots_[(next_reserve_ + i) % kSlots].use != Use::kFree) break;
    ++count;
  }
  return count;
}

uint32_t SharedChannel::Reserve() {
  const uint32_t slot = next_reserve_;
  EK_CHECK(slots_[slot].use == Use::kFree);
  slots_[slot].use = Use::kReserved;
  next_reserve_ = (slot + 1) % kSlots;
  return slot;
}

void SharedChannel::Abandon(uint32_t slot) {
  EK_CHECK(slot < kSlots && slots_[slot].use == Use::kReserved);
  EK_CHECK((slot + 1) % kSlots == next_reserve_);
  slots_[slot].use = Use::kFree;
  next_reserve_ = slot;
}

void SharedChannel::Submit(uint32_t slot, uint64_t batch_id, std::span<const TensorView> inputs) {
  EK_CHECK(slot < kSlots && slots_[slot].use == Use::kReserved && inputs.size() <= kMaxTensors);
  SlotHeader& header = *region_.header(slot);
  const std::span<std::byte> arena = region_.input_arena(slot);
  for (size_t i = 0; i < inputs.size(); ++i) {
    uint64_t offset = 0;
    if (!inputs[i].data.empty()) {
      EK_CHECK(inputs[i].data.data() >= arena.data() &&
               inputs[i].data.data() + inputs[i].data.size() <= arena.data() + arena.size());
      offset = static_cast<uint64_t>(inputs[i].data.data() - arena.data());
      EK_CHECK(offset % kAlign == 0);
    }
    WriteDesc(inputs[i], offset, &header.inputs[i]);
  }
  header.input_count = static_cast<uint32_t>(inputs.size());
  header.batch_id = batch_id;
  header.rows =
      inputs.empty() || inputs[0].shape.rank() == 0 ? 1 : static_cast<uint64_t>(inputs[0].shape[0]);
  slots_[slot] = {Use::kSubmitted, batch_id, SteadyClock::Instance().Now()};
  header.state.store(static_cast<uint32_t>(SlotState::kReady), std::memory_order_release);
  ::eventfd_write(wake_.get(), 1);
}

void SharedChannel::DrainDone() {
  eventfd_t ignored = 0;
  static_cast<void>(::eventfd_read(done_.get(), &ignored));
}

void SharedChannel::ReadTimes(const SlotHeader& header, const Slot& slot,
                              Completion* completion) const {
  const auto at = [](uint64_t ns) {
    return Time(Duration(static_cast<int64_t>(std::min<uint64_t>(ns, INT64_MAX))));
  };
  // A clock that lies must not reach statistics or forecasts: times are held between the submission and now.
  const Time now = SteadyClock::Instance().Now();
  const Time start = std::clamp(at(ReadOnce(header.start_ns)), slot.submitted, now);
  const Time end = std::clamp(at(ReadOnce(header.end_ns)), start, now);
  completion->started = start;
  completion->compute = end - start;
}

std::optional<Completion> SharedChannel::Poll() {
  const uint32_t index = next_poll_;
  const Slot& slot = slots_[index];
  if (slot.use != Use::kSubmitted) return std::nullopt;
  const SlotHeader& header = *region_.header(index);
  if (header.state.load(std::memory_order_acquire) != static_cast<uint32_t>(SlotState::kDone)) {
    return std::nullopt;
  }
  slots_[index].use = Use::kHeld;
  next_poll_ = (index + 1) % kSlots;

  Completion completion;
  completion.slot = index;
  completion.batch_id = slot.batch_id;
  ReadTimes(header, slot, &completion);
  const uint32_t code = ReadOnce(header.code);
  if (code >= static_cast<uint32_t>(kCodeCount)) {
    completion.status = Internal("worker answered with unknown code {}", code);
  } else if (code != 0) {
    completion.status = Status(static_cast<Code>(code), CopyMessage(header));
  } else {
    completion.status = ReadDescs(header.outputs, ReadOnce(header.output_count),
                                  region_.output_arena(index), &completion.outputs);
    for (size_t i = 0; completion.status.ok() && i < completion.outputs.size(); ++i) {
      if (completion.outputs[i].spec != i) {
        completion.status =
            Internal("descriptor {}: expected spec {}, got {}", i, i, completion.outputs[i].spec);
      }
    }
    if (completion.status.ok() && expecting_) {
      completion.status = CheckAgainst(expected_, completion.outputs);
    }
  }
  if (!completion.status.ok()) completion.outputs.clear();
  return completion;
}

void SharedChannel::Release(uint32_t slot) {
  EK_CHECK(slot < kSlots && slots_[slot].use == Use::kHeld);
  slots_[slot].use = Use::kFree;
  region_.header(slot)->state.store(static_cast<uint32_t>(SlotState::kFree),
                                    std::memory_order_release);
}

}  // namespace

std::vector<std::string> WorkerFds::Args() const {
  return {"--memory", std::to_string(memory), "--wake",    std::to_string(wake),
          "--done",   std::to_string(done),   "--control", std::to_string(control),
          "--spin",   spin ? "1" : "0"};
}

Result<std::unique_ptr<Channel>> Channel::Create(const Layout& layout) {
  auto channel = std::make_unique<SharedChannel>();
  EK_RETURN_IF_ERROR(channel->Init(layout));
  return std::unique_ptr<Channel>(std::move(channel));
}

}  // namespace evenkeel::ipc
