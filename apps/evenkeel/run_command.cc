// `evenkeel run MODEL [PROMPT]`: one answer, or a conversation.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "api.h"
#include "commands.h"
#include "conversation.h"
#include "core/format.h"
#include "core/parse.h"
#include "interrupt.h"
#include "output.h"
#include "prompt_lines.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel run smollm2 \"Name three primary colours.\"\n"
    "  evenkeel run smollm2                        a conversation; /bye ends it\n"
    "  evenkeel run smollm2 < letter.txt           the prompt from a file\n"
    "  evenkeel run smollm2 --system \"Answer in one word.\" --temperature 0 \"Capital of "
    "France?\"";
constexpr const char* kHelp =
    "  /bye      end (also Ctrl-D)\n"
    "  /clear    forget what was said\n"
    "  \\         at the end of a line: it goes on in the next\n"
    "  \"\"\"       begins and ends a prompt of several lines\n"
    "  Ctrl-C    stop the answer; at the prompt, end\n";
// A conversation is better off below the 1 that programs get unless they ask: small models lose the thread there.
constexpr double kTemperature = 0.7;
constexpr int kContinuedTokens = 256;
constexpr size_t kMaxPromptBytes = size_t{64} << 20;

struct RunOptions {
  Api api;
  std::string model;
  std::vector<std::string> words;
  std::string system;
  std::optional<double> temperature, top_p;
  std::optional<int64_t> seed;
  int max_tokens = 0;
  bool verbose = false;
};

Json SamplingOf(const RunOptions& options) {
  Json fields = Json::object();
  fields["temperature"] = options.temperature.value_or(kTemperature);
  if (options.top_p) fields["top_p"] = *options.top_p;
  if (options.seed) fields["seed"] = *options.seed;
  if (options.max_tokens > 0) fields["max_tokens"] = options.max_tokens;
  return fields;
}

// Reads lines from standard input, without losing what came behind them.
class Input {
 public:
  // False: the end, or Ctrl-C.
  bool ReadLine(std::string* line) {
    for (;;) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        *line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return true;
      }
      if (!Fill()) break;
    }
    *line = std::exchange(buffer_, {});
    return !line->empty();
  }
  std::string ReadAll() {
    while (Fill()) {
      if (buffer_.size() > kMaxPromptBytes)
        Fail(kExitFailed, fmt::format("the prompt is larger than {} bytes", kMaxPromptBytes));
    }
    return std::exchange(buffer_, {});
  }

 private:
  bool Fill() {
    char chunk[4096];
    const ssize_t n = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
    return true;
  }
  std::string buffer_;
};

// One prompt, one answer.
void Answer(Conversation* conversation, const std::string& prompt, const Interrupt& interrupt) {
  if (!IsUtf8(prompt)) Fail(kExitUsage, "the prompt is not UTF-8 text");
  const Status status = conversation->Say(prompt, [&] { return interrupt.came(); });
  if (status.code() == Code::kCancelled) throw CLI::RuntimeError(kExitInterrupted);
  if (!status.ok()) Api::FailWith(status);
}

// False: the conversation ends.
bool Obey(const std::string& command, Conversation* conversation) {
  if (command == "/bye" || command == "/exit" || command == "/quit") return false;
  if (command == "/clear") {
    conversation->Clear();
    std::fputs("The conversation starts anew.\n", stderr);
    return true;
  }
  if (command != "/help" && command != "/?")
    std::fprintf(stderr, "%s is no command here.\n", SafeForTerminal(command).c_str());
  std::fputs(kHelp, stderr);
  return true;
}

void Converse(Conversation* conversation, Interrupt* interrupt) {
  Input input;
  PromptLines lines;
  std::string line;
  std::fputs("/help says what can be typed here, /bye ends.\n", stderr);
  for (;;) {
    std::fputs(lines.inside() ? "... " : ">>> ", stderr);
    if (!input.ReadLine(&line)) break;
    switch (lines.Add(line)) {
      case PromptLines::State::kMore:
      case PromptLines::State::kNothing: break;
      case PromptLines::State::kCommand:
        if (!Obey(lines.Take(), conversation)) return;
        break;
      case PromptLines::State::kPrompt: {
        const std::string prompt = lines.Take();
        if (!IsUtf8(prompt)) {
          std::fputs("evenkeel: that is not UTF-8 text\n", stderr);
          break;
        }
        const Status status = conversation->Say(prompt, [&] { return interrupt->came(); });
        if (status.code() == Code::kUnavailable) Api::FailWith(status);
        if (!status.ok() && status.code() != Code::kCancelled)
          std::fprintf(stderr, "evenkeel: %s\n", Printable(status.message()).c_str());
        interrupt->Forget();
        break;
      }
    }
  }
  std::fputs("\n", stderr);
  if (interrupt->came()) throw CLI::RuntimeError(kExitInterrupted);
}

// Whether the model chats. Ends the program when there is no such model.
bool Chats(const RunOptions& options) {
  const Json model = options.api.Get("/v1/models/" + PathPart(options.model));
  const Json can = model.value("capabilities", Json::object());
  const bool chats = can.is_object() && can.value("chat", Json(true)) != Json(false);
  if (!chats)
    std::fprintf(stderr,
                 "evenkeel: model '%s' has no chat template: it goes on with what you write\n",
                 Printable(options.model).c_str());
  return chats;
}

void Run(const RunOptions& options) {
  std::string prompt;
  for (const std::string& word : options.words) prompt += (prompt.empty() ? "" : " ") + word;
  const bool talks = prompt.empty() && ::isatty(STDIN_FILENO) == 1;
  if (prompt.empty() && !talks) prompt = Input().ReadAll();
  if (!talks && prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    Fail(kExitUsage, "there is no prompt: give one, or type it at a terminal");
  const bool chat = Chats(options);
  Json sampling = SamplingOf(options);
  // What goes on with a text finds no end by itself, and the API's own limit is 16.
  if (!chat && options.max_tokens == 0) sampling["max_tokens"] = kContinuedTokens;
  Conversation conversation(
      &options.api, {options.model, options.system, std::move(sampling), chat, options.verbose});
  Interrupt interrupt;
  talks ? Converse(&conversation, &interrupt) : Answer(&conversation, prompt, interrupt);
}

}  // namespace

void RegisterRun(CLI::App& app) {
  CLI::App* run = app.add_subcommand("run", "Ask a language model, or talk with it");
  run->footer(kExamples);
  auto options = std::make_shared<RunOptions>();
  run->add_option("MODEL", options->model, "Name of the model")->required();
  run->add_option("PROMPT", options->words,
                  "What to ask; without it, what is typed, or all of standard input");
  run->add_option("--system", options->system, "How the model is to answer")->type_name("TEXT");
  run->add_option("--temperature", options->temperature, "0: the likeliest words, to 2 [0.7]")
      ->type_name("")
      ->check(CLI::Range(0.0, 2.0));
  run->add_option("--top-p", options->top_p, "Only the likeliest words up to this share [1]")
      ->type_name("")
      ->check(CLI::Range(0.0, 1.0));
  run->add_option("--seed", options->seed, "The same answer each time")->type_name("");
  run->add_option("--max-tokens", options->max_tokens, "Length of an answer [the model's context]")
      ->type_name("")
      ->check(CLI::Range(1, 1 << 30));
  run->add_flag("--verbose", options->verbose, "Print figures after each answer");
  options->api.AddFlags(*run);
  run->callback([options] { Run(*options); });
}

}  // namespace evenkeel
