// evenkeel-prompt-llamacpp: puts messages into a model's words and takes its answers apart, for one model; the daemon starts it again
// when it dies of what it was given.
#include <sys/resource.h>
#include <time.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>

#include "core/format.h"
#include "engines/control_codec.h"
#include "engines/llamacpp/llama_model.h"
#include "engines/llamacpp/prompt_maker.h"
#include "ipc/stream_channel.h"
#include "ipc/worker_end.h"
#include "llm/wire/load_messages.h"
#include "llm/wire/prompt_messages.h"

namespace evenkeel {
namespace {

constexpr int kExitClosed = 0;
constexpr int kExitUsage = 2;
constexpr int kExitProtocol = 3;

// The vocabulary, and what a template or a grammar may take.
constexpr rlim_t kMemory = rlim_t{1} << 30;
// Half of what the worker has: a grammar that is too deep for that one ends here.
constexpr rlim_t kStack = rlim_t{4} << 20;

void LimitMemory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map terabytes
  const rlimit memory{kMemory, kMemory};
  ::setrlimit(RLIMIT_DATA, &memory);
#endif
}

class PromptProcess {
 public:
  explicit PromptProcess(ipc::StreamChannel& channel) : channel_(channel) {}
  int Serve();

 private:
  bool HandleControl();
  Status HandleLoad(const std::string& message);
  bool Answer(uint32_t type, const std::string& message);
  Status SendWhenRoom(PromptFrame type, const std::string& message);

  ipc::StreamChannel& channel_;
  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<PromptMaker> maker_;
};

Status PromptProcess::HandleLoad(const std::string& message) {
  auto load = DecodeLlmLoad(message);
  if (!load.ok()) return load.status();
  load->vocabulary_only = true;
  auto model = LlamaModel::Load(*load);
  if (!model.ok()) return model.status();
  model_ = std::move(*model);
  LimitMemory();
  maker_ = std::make_unique<PromptMaker>(*model_, load->without_chat);
  LlmLoaded loaded = model_->Describe();
  loaded.chat = maker_->chats();
  return channel_.control().Send(Encode(loaded), true);
}

bool PromptProcess::HandleControl() {
  for (;;) {
    auto message = channel_.control().Receive();
    if (!message.ok()) return false;
    if (!message->has_value()) return true;
    const Status status = HandleLoad(**message);
    if (!status.ok() && !channel_.control().Send(EncodeFailed(status), true).ok()) return false;
  }
}

// The daemon takes answers as fast as they come, or it is in trouble: then this waits for it.
Status PromptProcess::SendWhenRoom(PromptFrame type, const std::string& message) {
  for (;;) {
    Status sent = channel_.Send(static_cast<uint32_t>(type), message);
    if (sent.code() != Code::kOverloaded) return sent;
    channel_.Wake();
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
    if (!channel_.Wait(0)) return Unavailable("the daemon is gone");
  }
}

bool PromptProcess::Answer(uint32_t type, const std::string& message) {
  if (maker_ == nullptr) return false;
  Result<std::string> answer = Internal("a frame of type {}", type);
  PromptFrame kind = PromptFrame::kFailed;
  switch (static_cast<PromptFrame>(type)) {
    case PromptFrame::kPrepare:
      answer = maker_->Prepare(message);
      kind = PromptFrame::kPrepared;
      break;
    case PromptFrame::kParse:
      answer = maker_->Parse(message);
      kind = PromptFrame::kParsed;
      break;
    case PromptFrame::kTexts:
      answer = maker_->Tokenise(message);
      kind = PromptFrame::kTokenised;
      break;
    default: return false;
  }
  Status sent = answer.ok() ? SendWhenRoom(kind, *answer) : answer.status();
  if (!sent.ok()) {
    const auto asked = nlohmann::json::parse(message, nullptr, false);
    const nlohmann::json failed = {{"id", asked.is_object() ? asked.value("id", uint64_t{0}) : 0},
                                   {"code", static_cast<int>(sent.code())},
                                   {"message", sent.message()}};
    sent = SendWhenRoom(PromptFrame::kFailed,
                        failed.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  channel_.Wake();
  return sent.ok();
}

int PromptProcess::Serve() {
  uint32_t type = 0;
  std::string message;
  for (;;) {
    if (!channel_.Wait(-1)) return kExitClosed;
    if (!HandleControl()) return kExitClosed;
    channel_.DrainWake();
    for (;;) {
      const auto got = channel_.Receive(&type, &message);
      if (!got.ok()) return kExitProtocol;
      if (!*got) break;
      if (!Answer(type, message)) return kExitProtocol;
    }
  }
}

int Main(int argc, char** argv) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  const rlimit stack{kStack, kStack};
  ::setrlimit(RLIMIT_STACK, &stack);
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
  return PromptProcess(**channel).Serve();
}

}  // namespace
}  // namespace evenkeel

int main(int argc, char** argv) { return evenkeel::Main(argc, argv); }
