#include "ipc/worker_end.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/check.h"
#include "core/format.h"
#include "core/spin.h"

namespace evenkeel::ipc {
namespace {

// More address space than any machine has; keeps the layout's sums from overflowing.
constexpr uint64_t kMaxArena = uint64_t{1} << 44;

std::optional<int> ParseFd(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

Result<WorkerFds> ParseWorkerFds(int argc, const char* const* argv) {
  WorkerFds fds;
  int spin = 0;
  const std::array<std::pair<std::string_view, int*>, 5> flags = {{{"--memory", &fds.memory},
                                                                   {"--wake", &fds.wake},
                                                                   {"--done", &fds.done},
                                                                   {"--control", &fds.control},
                                                                   {"--spin", &spin}}};
  for (int i = 1; i < argc; i += 2) {
    const auto* flag =
        std::ranges::find(flags, std::string_view(argv[i]), [](const auto& f) { return f.first; });
    if (flag == flags.end()) return InvalidArgument("unknown flag '{}'", argv[i]);
    const auto value = i + 1 < argc ? ParseFd(argv[i + 1]) : std::nullopt;
    if (!value) return InvalidArgument("{}: expected a number", argv[i]);
    *flag->second = *value;
  }
  fds.spin = spin > 0;
  for (const auto& [name, value] : flags) {
    if (*value < 0)
      return InvalidArgument("{} is missing: this program is started by evenkeel", name);
  }
  return fds;
}

WorkerEnd::WorkerEnd(const WorkerFds& fds)
    : memory_(fds.memory),
      wake_(fds.wake),
      done_(fds.done),
      control_(UniqueFd(fds.control)),
      spin_(fds.spin) {}

Result<std::unique_ptr<WorkerEnd>> WorkerEnd::Attach(const WorkerFds& fds) {
  std::unique_ptr<WorkerEnd> end(new WorkerEnd(fds));
  struct stat info {};
  Control control{};
  if (::fstat(fds.memory, &info) != 0 ||
      ::pread(fds.memory, &control, sizeof control, 0) != static_cast<ssize_t>(sizeof control)) {
    return InvalidArgument("descriptor {} is not a channel's memory", fds.memory);
  }
  if (control.magic != kMagic || control.slots != kSlots) {
    return InvalidArgument(
        "channel of another version: expected {:x} with {} slots, got {:x} with {}", kMagic, kSlots,
        control.magic, control.slots);
  }
  const Layout layout{control.input_capacity, control.output_capacity};
  if (layout.input_capacity > kMaxArena || layout.output_capacity > kMaxArena ||
      layout.total() > static_cast<uint64_t>(info.st_size)) {
    return InvalidArgument("channel of {} bytes cannot hold arenas of {} and {}", info.st_size,
                           layout.input_capacity, layout.output_capacity);
  }
  EK_RETURN_IF_ERROR(end->region_.Map(fds.memory, layout));
  return end;
}

bool WorkerEnd::BatchIsReady() const {
  return region_.header(next_)->state.load(std::memory_order_acquire) ==
         static_cast<uint32_t>(SlotState::kReady);
}

bool WorkerEnd::Look(Time since) {
  constexpr int kLooksPerClock = 32;  // reading the clock costs as much as a few looks
  const Duration budget = spin_.Next(since);
  if (budget == Duration::zero()) return false;
  const long preemptions = Preemptions();
  Time now = since;
  bool found = false;
  while (!found && now - since < budget) {
    for (int i = 0; !found && i < kLooksPerClock; ++i) {
      CpuRelax();
      found = BatchIsReady();
    }
    now = SteadyClock::Instance().Now();
  }
  if (Preemptions() != preemptions) {
    spin_.Disturbed(now);
  } else if (found) {
    spin_.Undisturbed();
  }
  if (found) {
    spin_.Came(now - since);
  } else {
    spin_.Missed();
  }
  return found;
}

WorkerEnd::Event WorkerEnd::Wait() {
  if (BatchIsReady()) return Event::kBatch;
  const Time since = SteadyClock::Instance().Now();
  if (Look(since)) return Event::kBatch;
  for (;;) {
    if (BatchIsReady()) {
      spin_.Came(SteadyClock::Instance().Now() - since);
      return Event::kBatch;
    }
    std::array<pollfd, 2> fds = {{{wake_.get(), POLLIN, 0}, {control_.fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return Event::kClosed;
    }
    if (fds[0].revents != 0) {
      // Drained before the state is looked at again: a submission after this read wakes the next poll.
      eventfd_t ignored = 0;
      static_cast<void>(::eventfd_read(wake_.get(), &ignored));
    }
    if (fds[1].revents != 0) {
      // A closed peer makes the socket readable too; what it sent before comes first.
      char byte = 0;
      return ::recv(control_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0 ? Event::kControl
                                                                          : Event::kClosed;
    }
  }
}

Status WorkerEnd::Take(std::vector<TensorView>* inputs) {
  const SlotHeader& header = *region_.header(next_);
  batch_id_ = header.batch_id;
  const uint32_t count = *static_cast<const volatile uint32_t*>(&header.input_count);
  return ReadDescs(header.inputs, count, region_.input_arena(next_), inputs);
}

void WorkerEnd::Finish(const Status& status, std::span<const TensorView> outputs, Time start,
                       Time end) {
  EK_CHECK(outputs.size() <= kMaxTensors);
  SlotHeader& header = *region_.header(next_);
  const std::span<std::byte> arena = region_.output_arena(next_);
  header.code = static_cast<uint32_t>(status.code());
  header.output_count = 0;
  header.message_size = 0;
  if (status.ok()) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      const auto& data = outputs[i].data;
      const auto offset = data.empty() ? 0 : static_cast<uint64_t>(data.data() - arena.data());
      WriteDesc(outputs[i], offset, &header.outputs[i]);
    }
    header.output_count = static_cast<uint32_t>(outputs.size());
  } else {
    const size_t size = std::min(status.message().size(), kMaxMessage);
    std::memcpy(header.message, status.message().data(), size);
    header.message_size = static_cast<uint32_t>(size);
  }
  header.start_ns = static_cast<uint64_t>(start.time_since_epoch().count());
  header.end_ns = static_cast<uint64_t>(end.time_since_epoch().count());
  header.state.store(static_cast<uint32_t>(SlotState::kDone), std::memory_order_release);
  next_ = (next_ + 1) % kSlots;
  static_cast<void>(::eventfd_write(done_.get(), 1));
}

}  // namespace evenkeel::ipc
