// A served language model: calls in, sequences out, over a worker and a prompt process. Calls for vectors and scores: embedding_calls.h.
//
// Life: Start() → both processes are up → `on_ready` → serves → Stop(): new calls are refused, running ones end → `on_stopped`.
// A call is refused at once (kOverloaded) while `max_waiting` sequences wait beyond the worker's slots, or when it would wait longer than
//   `longest_wait` by what answers have been taking; (kInvalidArgument, with the sizes) when it does not fit the context.
// Thread-safety: LanguageModel's methods and Look() are thread-safe; the rest belongs to the loop, where all callbacks come.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/generation.h"
#include "core/histogram.h"
#include "core/sequence_state.h"
#include "llm/answer_parts.h"
#include "llm/embedding_calls.h"
#include "llm/llm_context.h"
#include "llm/llm_tuner.h"
#include "llm/prompt_service.h"
#include "llm/sequence_engine.h"
#include "llm/state_model.h"

namespace evenkeel {

// Counted since the model was loaded.
struct LlmFigures {
  std::array<uint64_t, kCodeCount> ends{};  // of calls, by code
  uint64_t cached_tokens = 0;
  Histogram first_token{kLatencyBounds};  // seconds from arrival, each choice
  Histogram inter_token{kLatencyBounds};  // seconds
};

class LlmModel final : public LanguageModel,
                       public StateModel,
                       public std::enable_shared_from_this<LlmModel>,
                       private SequenceEngine::Owner {
 public:
  LlmModel(LlmContext context, LlmOptions options);
  ~LlmModel() override;

  // `on_ready` is called once, on the loop: ok, or why the model can't be served (it is then stopped).
  void Start(std::function<void(Status)> on_ready);
  // Ends what runs by itself, then the processes. `on_stopped` is called once, on the loop. Call once.
  void Stop(std::function<void()> on_stopped);
  // Hastens Stop(): what runs is answered kUnavailable.
  void Abandon();
  // Gives the latest movable calls without a token back to who sent them, so many at most; how many it were. On the loop.
  int GiveBack(int most);
  static constexpr Duration kAskAgain = std::chrono::seconds(10);
  // Asks that so many of those that answer be moved, the shortest first. None is asked that was, or that came here with a beginning from elsewhere, less than `cool_down` ago: answers
  // would go to and fro. On the loop.
  int AskToMove(int most, Duration cool_down = kAskAgain);

  // StateModel; on any thread, `done` on the loop.
  const std::string& model_name() const override { return options_.name; }
  bool FileUnchanged() const override;
  std::string state_kind() const override;
  double prompt_token_s() const override;
  void ReadState(uint64_t answer, StateTransfers::Done done) override;
  void RestoreState(SequenceState state, std::function<void(Status)> done) override;

  LanguageModelInfo Info() const override;
  void Generate(GenerationCall* call) override;
  void Cancel(GenerationCall* call) override;
  void Embed(EmbeddingCall* call) override;
  void CancelEmbedding(EmbeddingCall* call) override;

  const LlmOptions& options() const { return options_; }
  struct View {
    SequenceEngine::View engine;
    pid_t prompt_pid = 0;
    uint64_t prompt_restarts = 0;
    LlmLoaded loaded;
    LlmFigures figures;
    int open = 0;         // calls
    int sequences = 0;    // of those calls, and calls for texts
    double answer_s = 0;  // of a sequence, lately
    LlmTuner::View tuning;
  };
  View Look() const;       // on any thread
  bool available() const;  // the worker is up, or about to be again

 private:
  struct Choice {
    uint64_t sequence = 0;
    Time last{};                         // token
    int64_t told = 0;                    // tokens
    std::unique_ptr<AnswerParts> parts;  // where answers are taken apart; else null
    std::vector<TokenLogprob> logprobs;  // not told yet, while parts are worked out
    bool parsing = false;                // an answer of the prompt process is on its way
    uint64_t parse = 0;
    std::optional<SequenceEnd> end;  // came, but the last parts are being worked out
  };
  struct Call;
  using Calls = std::map<uint64_t, std::unique_ptr<Call>>;

  void Begin(uint64_t id, GenerationCall* call);
  Status CheckRequest(const GenerationRequest& request) const;
  Status CheckLoad(int choices) const;
  // Until a sequence that comes now has a slot; nullopt: nothing is known of steps.
  std::optional<double> ExpectedWaitSeconds() const;
  void OnPrepared(uint64_t id, Result<PreparedPrompt> prompt);
  Status FitContext(const GenerationRequest& request, std::vector<int32_t>* tokens) const;
  void StartChoices(Call& call, PreparedPrompt prompt);
  void TellBegun(Call& call, size_t index, const std::string& text);
  void OnToken(SequenceToken token) override;
  void OnEnd(SequenceEnd end) override;
  void OnVector(TextEnd end) override { embeddings_.OnVector(std::move(end)); }
  void OnWorker(const LlmLoaded* up) override { tuner_.OnWorker(up); }
  void OnBusy(bool busy) override { tuner_.OnBusy(busy); }
  void OnStep(const StepReport& step) override { tuner_.OnStep(step); }
  void OnSteered(const LlmSteered& steered) override;
  void CountToken(const Call& call, Choice& choice);
  void Parse(Call& call, size_t choice);
  void OnParsed(uint64_t id, size_t choice, Result<ParsedAnswer> parsed);
  void EndChoice(Call& call, size_t choice, const SequenceEnd& end);
  // Ends the call; it is gone afterwards.
  void Finish(Call& call, const Status& status);
  // The same without a word to its owner, which is left to the caller.
  std::unique_ptr<Call> Release(Call& call);
  void OnDeadline();
  void SetDeadline();
  void CallEnded(const Status& status);
  void MaybeStopped();
  int OpenSequences() const;
  void BecomeReady(const Status& status);
  MoveOffer OfferOf(Call& call) const;
  Status CheckState(const SequenceState& state) const;
  void Publish();

  LlmContext context_;
  const LlmOptions options_;
  const int64_t created_s_;
  PromptService prompts_;
  SequenceEngine engine_;
  uint64_t next_sequence_ = 1;  // and text
  LlmTuner tuner_;
  EmbeddingCalls embeddings_;
  std::function<void(Status)> on_ready_;
  std::function<void()> on_stopped_;
  std::unique_ptr<Alarm> deadline_;
  Calls calls_;                                                            // by id, which grows
  std::unordered_map<uint64_t, std::pair<uint64_t, size_t>> by_sequence_;  // call, choice
  double answer_s_ = 0;  // of a sequence once admitted; 0: none ended yet
  bool stopping_ = false;
  std::shared_ptr<LlmModel> self_;  // while processes or alarms may call back

  mutable std::mutex mutex_;                                 // guards what follows
  std::unordered_map<const GenerationCall*, uint64_t> ids_;  // of calls that are not done
  uint64_t next_id_ = 1;
  LlmLoaded loaded_;
  View view_;
};

}  // namespace evenkeel
