// evenkeel-worker-llamacpp: one GGUF model, driven by the daemon over a stream of frames.
#include <sys/resource.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <ctime>
#include <deque>
#include <string>
#include <utility>

#include "core/clock.h"
#include "core/format.h"
#include "engines/control_codec.h"
#include "engines/llamacpp/core_time.h"
#include "engines/llamacpp/step_loop.h"
#include "engines/llamacpp/text_loop.h"
#include "ipc/stream_channel.h"
#include "ipc/worker_end.h"
#include "llm/policy/state_time.h"
#include "llm/policy/step_threads.h"
#include "llm/wire/load_messages.h"
#include "llm/wire/messages.h"
#include "llm/wire/state_messages.h"
#include "llm/wire/steer_messages.h"
#include "llm/wire/text_messages.h"

namespace evenkeel {
namespace {

// As those of engines/worker.cc.
constexpr int kExitClosed = 0;
constexpr int kExitUsage = 2;
constexpr int kExitProtocol = 3;
constexpr int kExitNoContext = 4;

// Of a tenth of a millisecond and more: within them the daemon's next pieces come, or none do.
constexpr int kLooksForAPiece = 40;

class Worker final : public StepSink, public TextSink {
 public:
  explicit Worker(ipc::StreamChannel& channel) : channel_(channel) {}
  int Serve();

  void Token(const SequenceToken& token) override { Send(LlmFrame::kToken, Encode(token)); }
  void End(const SequenceEnd& end) override { Send(LlmFrame::kEnd, Encode(end)); }
  void Stepped(const StepReport& report) override {
    answers_ = report.answers > 0 ? report.took : Duration::zero();
    Send(LlmFrame::kStep, Encode(report));
  }
  void Vector(const TextEnd& end) override { Send(LlmFrame::kVector, Encode(end)); }
  void TextsStepped(const TextReport& report) override {
    Send(LlmFrame::kTextStep, Encode(report));
  }

 private:
  bool HandleControl();
  Status HandleLoad(std::string_view message);
  // False: the daemon broke the rules.
  bool HandleFrames();
  bool HandleFrame(uint32_t type, const std::string& payload);
  void Step();
  void SaveState(const StateWanted& wanted);
  bool LoadPiece(const StatePiece& piece);
  void SendStates();
  bool AwaitPieces();
  void Pause();
  void Send(LlmFrame type, const std::string& payload);
  void Steer(const LlmSteer& steer);
  bool Reshape();
  void Steered(bool answer);
  // Sequences or texts are there, and threads for a step.
  bool busy() const {
    const bool work =
        (loop_ != nullptr && !loop_->idle()) || (texts_ != nullptr && !texts_->idle());
    return work && permitted_ > 0;
  }

  ipc::StreamChannel& channel_;
  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<StepLoop> loop_;   // null where nothing is generated
  std::unique_ptr<TextLoop> texts_;  // null where texts become nothing
  Duration answers_{};               // the last step of answers; zero: it had none
  Duration inter_token_{};
  int permitted_ = 0;                 // threads; 0: no step
  policy::StepThreads text_threads_;  // of steps of texts while no sequences run
  LlmSteer steer_;
  std::deque<StateCutter> leaving_;  // states on their way to the daemon
  StateAssembly arriving_;
  bool piece_came_ = false;  // and more of the state are to follow
  bool closed_ = false;
};

// The daemon takes frames as fast as they come, or it is in trouble: then the model waits for it.
void Worker::Send(LlmFrame type, const std::string& payload) {
  while (!closed_) {
    const Status status = channel_.Send(static_cast<uint32_t>(type), payload);
    if (status.ok()) return;
    if (status.code() != Code::kOverloaded) {
      std::fprintf(stderr, "%s\n", status.message().c_str());
      closed_ = true;
      return;
    }
    channel_.Wake();
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
    if (!channel_.Wait(0)) closed_ = true;
  }
}

Status Worker::HandleLoad(std::string_view message) {
  auto load = DecodeLlmLoad(message);
  if (!load.ok()) return load.status();
  if (model_ != nullptr) return Conflict("this worker has a model already");
  auto model = LlamaModel::Load(*load);
  if (!model.ok()) return model.status();
  model_ = std::move(*model);
  const Clock& clock = SteadyClock::Instance();
  inter_token_ = load->inter_token;
  permitted_ = load->waits ? 0 : load->threads;
  if (model_->generates()) loop_ = std::make_unique<StepLoop>(*model_, inter_token_, clock, *this);
  if (model_->pooling() != Pooling::kNone)
    texts_ = std::make_unique<TextLoop>(*model_, inter_token_, clock, *this);
  // What is there for texts, or was asked for by name, has its memory from the start; else the first text asks for it.
  if (texts_ != nullptr && (loop_ == nullptr || load->pooling))
    EK_RETURN_IF_ERROR(texts_->Prepare());
  return channel_.control().Send(Encode(model_->Describe()), true);
}

bool Worker::HandleControl() {
  for (;;) {
    auto message = channel_.control().Receive();
    if (!message.ok()) return false;
    if (!message->has_value()) return true;
    const Status status = HandleLoad(**message);
    if (!status.ok() && !channel_.control().Send(EncodeFailed(status), true).ok()) return false;
  }
}

bool Worker::HandleFrame(uint32_t type, const std::string& payload) {
  switch (static_cast<LlmFrame>(type)) {
    case LlmFrame::kStart: {
      auto start = DecodeStart(payload);
      if (!start.ok() || loop_ == nullptr) return false;
      loop_->Start(std::move(*start));
      return true;
    }
    case LlmFrame::kCancel: {
      const auto id = DecodeCancel(payload);
      if (!id.ok()) return false;
      if (loop_ != nullptr) loop_->Cancel(*id);
      if (texts_ != nullptr) texts_->Cancel(*id);
      return true;
    }
    case LlmFrame::kText: {
      auto text = DecodeText(payload);
      if (!text.ok() || texts_ == nullptr) return false;
      texts_->Start(std::move(*text));
      return true;
    }
    case LlmFrame::kSaveState: {
      const auto wanted = DecodeStateWanted(payload);
      if (!wanted.ok() || loop_ == nullptr) return false;
      SaveState(*wanted);
      return true;
    }
    case LlmFrame::kLoadState: {
      const auto piece = DecodeStatePiece(payload);
      return piece.ok() && loop_ != nullptr && LoadPiece(*piece);
    }
    case LlmFrame::kSteer: {
      const auto steer = DecodeSteer(payload);
      if (!steer.ok() || model_ == nullptr) return false;
      Steer(*steer);
      return true;
    }
    default: return false;
  }
}

void Worker::SaveState(const StateWanted& wanted) {
  auto state = loop_->SaveState(wanted.sequence);
  if (!state.ok()) return Send(LlmFrame::kStateEnd, Encode(StateEnd{wanted.id, state.status()}));
  leaving_.emplace_back(wanted.id, std::move(*state));
}

bool Worker::LoadPiece(const StatePiece& piece) {
  const auto whole = arriving_.Add(piece);
  if (!whole.ok()) return false;
  piece_came_ = !*whole;
  if (!*whole) return true;
  const Status loaded = loop_->LoadState(arriving_.Take());
  Send(LlmFrame::kStateEnd, Encode(StateEnd{piece.id, loaded}));
  return true;
}

// The daemon takes what is there meanwhile, or puts more there.
void Worker::Pause() {
  const timespec pause{0, 100'000};
  ::nanosleep(&pause, nullptr);
}

// Where a state is on its way here: the rest of it, as far as it comes before StateTime() has passed. False: the daemon broke the rules.
bool Worker::AwaitPieces() {
  const Clock& clock = SteadyClock::Instance();
  const Time until = clock.Now() + StateTime(answers_);
  while (std::exchange(piece_came_, false) && busy() && clock.Now() < until) {
    // The daemon sends more each two milliseconds: one look in between is not the end of it.
    for (int i = 0; i < kLooksForAPiece && !piece_came_ && clock.Now() < until; ++i) {
      Pause();
      if (!HandleFrames()) return false;
    }
  }
  return true;
}

// A few pieces a turn, and more where the daemon takes them before StateTime() has passed; never more than half of the channel: tokens are not to wait behind them, nor to find it full.
void Worker::SendStates() {
  constexpr int kPieces = 8;
  const Clock& clock = SteadyClock::Instance();
  const Time until = clock.Now() + StateTime(answers_);
  for (int i = 0; !leaving_.empty() && (i < kPieces || clock.Now() < until); ++i) {
    StateCutter& state = leaving_.front();
    const StatePiece piece = state.Piece();
    const std::string payload = Encode(piece);
    Status sent = channel_.SendAside(static_cast<uint32_t>(LlmFrame::kState), payload);
    while (sent.code() == Code::kOverloaded && clock.Now() < until) {
      channel_.Wake();
      Pause();
      sent = channel_.SendAside(static_cast<uint32_t>(LlmFrame::kState), payload);
    }
    if (sent.code() == Code::kOverloaded) return;
    if (!sent.ok()) {
      // The first piece has all tokens: of more than a channel holds there is no state to be had.
      leaving_.pop_front();
      Send(LlmFrame::kStateEnd, Encode(StateEnd{piece.id, sent}));
      continue;
    }
    state.Sent();
    if (state.done()) leaving_.pop_front();
  }
}

void Worker::Steered(bool answer) {
  LlmSteered steered;
  steered.answer = answer;
  steered.threads = permitted_;
  steered.slots = model_->slots();
  steered.cells = model_->cells();
  Send(LlmFrame::kSteered, Encode(steered));
}

void Worker::Steer(const LlmSteer& steer) {
  // What is wanted stays so until nothing runs.
  const int32_t slots = steer.slots > 0 ? steer.slots : steer_.slots;
  const int64_t cells = steer.cells > 0 ? steer.cells : steer_.cells;
  steer_ = steer;
  steer_.slots = slots;
  steer_.cells = cells;
  permitted_ = steer.threads;
  if (permitted_ > 0) {
    model_->SetThreads(permitted_);
    permitted_ = model_->threads();
  }
  if (loop_ != nullptr) loop_->Steer(steer);
  Steered(true);
}

// Between sequences, where other slots or cells are wanted. False: there is no context any more.
bool Worker::Reshape() {
  const int slots = steer_.slots > 0 ? steer_.slots : model_->slots();
  const int64_t cells = steer_.cells > 0 ? steer_.cells : model_->cells();
  steer_.slots = 0;
  steer_.cells = 0;
  if (slots == model_->slots() && cells == model_->cells()) return true;
  loop_.reset();
  if (const Status status = model_->Reshape(slots, cells); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return false;
  }
  if (permitted_ > 0) model_->SetThreads(permitted_);
  loop_ = std::make_unique<StepLoop>(*model_, inter_token_, SteadyClock::Instance(), *this);
  loop_->Steer(steer_);
  Steered(false);
  return true;
}

bool Worker::HandleFrames() {
  channel_.DrainWake();
  uint32_t type = 0;
  std::string payload;
  for (;;) {
    const auto got = channel_.Receive(&type, &payload);
    if (!got.ok()) return false;
    if (!*got) return true;
    if (!HandleFrame(type, payload)) {
      std::fprintf(stderr, "a frame of type %u that breaks the rules\n", type);
      return false;
    }
  }
}

// Texts and sequences take turns; what a turn of texts may take depends on how long answers take.
void Worker::Step() {
  const bool sequences = loop_ != nullptr && !loop_->idle();
  if (sequences) loop_->Step();
  if (texts_ == nullptr || texts_->idle()) return;
  if (sequences) return texts_->Step(answers_);
  const Time begin = SteadyClock::Instance().Now();
  const auto threads = text_threads_.Choose(permitted_, begin);
  model_->SetThreads(threads.threads, threads.come_and_go);
  const Duration worked = CoreTime();
  texts_->Step(Duration::zero());
  const Time end = SteadyClock::Instance().Now();
  text_threads_.Observe(CoreTime() - worked, end - begin, end);
}

int Worker::Serve() {
  while (!closed_) {
    // Where nothing steps, what is left of a state goes as the daemon makes room.
    const int idle_ms = leaving_.empty() ? -1 : 1;
    if (!channel_.Wait(busy() ? 0 : idle_ms)) return kExitClosed;
    if (!HandleControl()) return kExitClosed;
    if (!HandleFrames() || !AwaitPieces()) return kExitProtocol;
    if (loop_ != nullptr && loop_->idle() && !Reshape()) return kExitNoContext;
    if (busy()) Step();
    SendStates();
    channel_.Wake();
  }
  return kExitClosed;
}

int Main(int argc, char** argv) {
  // A crash must cost its answers only, not the seconds and the disk of a core dump with the clients' prompts in it.
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  auto fds = ipc::ParseWorkerFds(argc, argv);
  if (!fds.ok()) {
    std::fprintf(stderr, "%s\n", fds.status().message().c_str());
    return kExitUsage;
  }
  auto channel = ipc::StreamChannel::Attach(*fds);
  if (!channel.ok()) {
    std::fprintf(stderr, "%s\n", channel.status().message().c_str());
    return kExitProtocol;
  }
  return Worker(**channel).Serve();
}

}  // namespace
}  // namespace evenkeel

int main(int argc, char** argv) { return evenkeel::Main(argc, argv); }
