#include "engines/llamacpp/llama_model.h"

#include <gguf.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "engines/llamacpp/text_context.h"
#include "llm/policy/pooling.h"

// Of ours in ggml-cpu.c (coming_threads.h).
extern "C" void evenkeel_threads_come_and_go(ggml_threadpool* threads, bool wanted);

namespace evenkeel {
namespace {

constexpr int kBatch = 512;  // the rate of prompts falls beyond it
constexpr int64_t kDefaultCacheBytes = int64_t{256} << 20;

void Log(ggml_log_level level, const char* text, void* last) {
  // A line may come in pieces, the rest marked "go on".
  auto& printing = *static_cast<bool*>(last);
  if (level != GGML_LOG_LEVEL_CONT) {
    // It takes the cache that all sequences share for the context of one.
    const bool mistaken = std::strstr(text, "n_ctx_seq") != nullptr;
    printing = level >= GGML_LOG_LEVEL_WARN && !mistaken;
  }
  if (printing) std::fputs(text, stderr);
}

std::string MetaText(const llama_model* model, const char* key) {
  std::array<char, 256> text{};
  const int size = llama_model_meta_val_str(model, key, text.data(), text.size());
  return size < 0 ? std::string() : std::string(text.data());
}

std::string ArchitectureText(const llama_model* model, const char* key) {
  return MetaText(model, (MetaText(model, "general.architecture") + "." + key).c_str());
}

bool HasTensor(const std::string& path, const char* name) {
  gguf_context* file = gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, nullptr});
  if (file == nullptr) return false;
  const bool found = gguf_find_tensor(file, name) >= 0;
  gguf_free(file);
  return found;
}

// The file has a classification head whose first number is how well a document answers a query. Of several numbers that is so where they
// are a "yes" and a "no".
bool HasRankHead(const llama_model* model, const std::string& path, bool yes_or_no) {
  ggml_context* tensors = nullptr;
  gguf_context* file = gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, &tensors});
  if (file == nullptr) return false;
  const bool projects = gguf_find_tensor(file, "cls.output.weight") >= 0;
  const ggml_tensor* head = ggml_get_tensor(tensors, "cls.weight");
  const bool is_score = head != nullptr && head->ne[1] == 1;
  gguf_free(file);
  ggml_free(tensors);
  return (projects || is_score) && (llama_model_n_cls_out(model) > 1) == yes_or_no;
}

}  // namespace

Result<std::unique_ptr<LlamaModel>> LlamaModel::Load(const LlmLoad& load) {
  static bool printing = false;
  llama_log_set(Log, &printing);
  // An abort must not run a debugger first: the daemon waits to start the next worker.
  ::setenv("GGML_NO_BACKTRACE", "1", 1);
  llama_backend_init();
  std::unique_ptr<LlamaModel> made(new LlamaModel());
  try {
    llama_model_params params = llama_model_default_params();
    params.vocab_only = load.vocabulary_only;
    made->model_ = llama_model_load_from_file(load.path.c_str(), params);
    if (made->model_ == nullptr)
      return InvalidArgument("llama.cpp does not load it; its reason is in the log");
    made->vocab_ = llama_model_get_vocab(made->model_);
    made->vocabulary_ = llama_vocab_n_tokens(made->vocab_);
    // Without weights the engine does not look at what is said of them.
    const int trained =
        load.vocabulary_only ? std::max(1, load.context) : llama_model_n_ctx_train(made->model_);
    if (made->vocabulary_ <= 0) return InvalidArgument("the model has no vocabulary");
    if (trained <= 0)
      return InvalidArgument("the model says that its context is {} tokens", trained);
    made->context_tokens_ = load.context > 0 ? std::min(load.context, trained) : trained;
    for (int32_t token = 0; token < made->vocabulary_; ++token)
      made->ends_.push_back(llama_vocab_is_eog(made->vocab_, token));
    if (load.vocabulary_only) return made;
    if (llama_model_has_encoder(made->model_) || !llama_model_has_decoder(made->model_))
      return Unsupported("models with an encoder and a decoder are not served");
    EK_RETURN_IF_ERROR(made->MakeThreads(load.threads));
    EK_RETURN_IF_ERROR(made->ChoosePooling(load));
    made->long_factors_ = HasTensor(load.path, "rope_factors_long.weight");
  } catch (const std::bad_alloc&) {
    return Unavailable("not enough memory to load it");
  } catch (const std::exception& e) {
    return InvalidArgument("llama.cpp does not load it: {}", e.what());
  }
  return made;
}

// A context shows what a model is: one without a cache has tokens that all see each other.
Status LlamaModel::ChoosePooling(const LlmLoad& load) {
  policy::PoolingFacts facts;
  facts.asked = load.pooling;
  const auto number = ParseInt(ArchitectureText(model_, "pooling_type"), 0, 4);
  if (number.ok()) facts.file = static_cast<Pooling>(*number);
  const std::string architecture = MetaText(model_, "general.architecture");
  scores_are_shares_ = architecture == "qwen3" || architecture == "qwen3vl";
  facts.head = HasRankHead(model_, load.path, scores_are_shares_);
  facts.encoder = ArchitectureText(model_, "attention.causal") == "false";
  if (!facts.encoder && facts.file.value_or(Pooling::kNone) == Pooling::kNone) {
    EK_RETURN_IF_ERROR(MakeContext(load));
    facts.encoder = llama_get_memory(context_) == nullptr;
  }
  texts_whole_ = facts.encoder;
  const auto choice = policy::ChoosePooling(facts);
  if (!choice.ok()) return choice.status();
  pooling_ = choice->pooling;
  if (!choice->generates && context_ != nullptr) {
    llama_free(std::exchange(context_, nullptr));
    cells_ = slots_ = 0;
  }
  if (context_ == nullptr && pooling_ == Pooling::kNone)
    return InvalidArgument(
        "it generates no text, and its pooling is 'none': nothing is left that it could do");
  return Status::Ok();
}

Status LlamaModel::MakeThreads(int threads) {
  thread_count_ = most_threads_ = threads;
  ggml_threadpool_params pool = ggml_threadpool_params_default(threads);
  pool.poll = 0;
  threads_ = ggml_threadpool_new(&pool);
  if (threads_ == nullptr) return Unavailable("{} threads could not be started", threads);
  return Status::Ok();
}

int LlamaModel::vector_size() const { return llama_model_n_embd_out(model_); }

// Keys and values in 16 bits.
int64_t LlamaModel::cell_bytes() const {
  const int64_t heads = std::max(1, llama_model_n_head(model_));
  const int64_t width = int64_t{llama_model_n_embd(model_)} / heads * llama_model_n_head_kv(model_);
  return std::max<int64_t>(1, 2 * 2 * width * llama_model_n_layer(model_));
}

Status LlamaModel::MakeContext(const LlmLoad& load) {
  const int64_t fit = load.cells > 0 ? load.cells : kDefaultCacheBytes / cell_bytes();
  slots_ = std::clamp(load.slots, 1, static_cast<int>(llama_max_parallel_sequences()));
  // One sequence may always fill its context; all together share what there is.
  const int64_t most = int64_t{slots_} * context_tokens_;
  cells_ = static_cast<int>(std::clamp<int64_t>(fit, context_tokens_, std::max<int64_t>(most, 1)));
  batch_ = std::max(kBatch, slots_);

  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(cells_);
  params.n_batch = static_cast<uint32_t>(batch_);
  params.n_ubatch = static_cast<uint32_t>(batch_);
  params.n_seq_max = static_cast<uint32_t>(slots_);
  params.n_outputs_max = static_cast<uint32_t>(slots_);
  params.kv_unified = true;
  params.n_threads = load.threads;
  params.n_threads_batch = load.threads;
  params.no_perf = true;
  context_ = llama_init_from_model(model_, params);
  if (context_ == nullptr)
    return Unavailable("no context of {} tokens could be made; the reason is in the log", cells_);
  cells_ = std::min(cells_, static_cast<int>(llama_n_ctx(context_)));
  load_ = load;
  llama_attach_threadpool(context_, threads_, threads_);
  shares_beginnings_ = !llama_model_is_recurrent(model_) && !llama_model_is_hybrid(model_) &&
                       llama_model_n_swa(model_) == 0;
  return Status::Ok();
}

void LlamaModel::SetThreads(int threads, bool come_and_go) {
  thread_count_ = std::clamp(threads, 1, most_threads_);
  evenkeel_threads_come_and_go(threads_, come_and_go);
  if (context_ != nullptr) llama_set_n_threads(context_, thread_count_, thread_count_);
}

Status LlamaModel::Reshape(int slots, int64_t cells) {
  const LlmLoad before = load_;
  const int threads = thread_count_;
  LlmLoad wanted = load_;
  wanted.slots = slots;
  wanted.cells = cells;
  llama_detach_threadpool(context_);
  llama_free(std::exchange(context_, nullptr));
  Status status = MakeContext(wanted);
  if (!status.ok()) {
    std::fprintf(stderr, "%d slots and %lld tokens cannot be had: %s\n", slots,
                 static_cast<long long>(cells), status.message().c_str());
    status = MakeContext(before);
  }
  if (status.ok()) SetThreads(threads);
  return status;
}

LlamaModel::~LlamaModel() {
  if (context_ != nullptr) llama_free(context_);
  if (threads_ != nullptr) ggml_threadpool_free(threads_);
  if (model_ != nullptr) llama_model_free(model_);
}

std::string LlamaModel::Piece(int32_t token, bool special) const {
  std::string piece(32, '\0');
  int size = llama_token_to_piece(vocab_, token, piece.data(), static_cast<int32_t>(piece.size()),
                                  0, special);
  if (size < 0) {
    piece.resize(static_cast<size_t>(-size));
    size = llama_token_to_piece(vocab_, token, piece.data(), static_cast<int32_t>(piece.size()), 0,
                                special);
  }
  piece.resize(static_cast<size_t>(std::max(size, 0)));
  return piece;
}

std::string LlamaModel::StateKind() const {
  if (context_ == nullptr || !shares_beginnings_ || long_factors_) return "";
  // A cell of theirs has more to it than kv_state.h knows.
  const auto turned = llama_model_rope_type(model_);
  if (turned == LLAMA_ROPE_TYPE_MROPE || turned == LLAMA_ROPE_TYPE_IMROPE) return "";
  // MakeContext() leaves keys and values in 16 bits.
  return fmt::format("llama.cpp {}, {}, keys and values f16, context {}", llama_version(),
                     MetaText(model_, "general.architecture"), context_tokens_);
}

LlmLoaded LlamaModel::Describe() const {
  LlmLoaded loaded;
  loaded.context = std::min(context_tokens_, cells_ > 0 ? cells_ : context_tokens_);
  loaded.cells = cells_;
  loaded.slots = slots_;
  loaded.vocabulary = vocabulary_;
  loaded.chat = llama_model_chat_template(model_, nullptr) != nullptr;
  loaded.pooling = pooling_;
  loaded.vector_size = Embeds(pooling_) ? vector_size() : 0;
  loaded.architecture = MetaText(model_, "general.architecture");
  loaded.state_kind = StateKind();
  loaded.cell_bytes = threads_ != nullptr ? cell_bytes() : 0;
  nlohmann::json facts = {{"engine", "llama.cpp"},
                          {"version", llama_version()},
                          {"architecture", loaded.architecture},
                          {"vocabulary", vocabulary_},
                          {"license", MetaText(model_, "general.license")},
                          {"chat_template", loaded.chat}};
  if (threads_ != nullptr) {
    // Without weights the engine aborts when it is asked for these.
    std::array<char, 256> description{};
    llama_model_desc(model_, description.data(), description.size());
    facts["device"] = "CPU";
    facts["model"] = description.data();
    facts["quantisation"] = llama_ftype_name(llama_model_ftype(model_));
    facts["parameters"] = llama_model_n_params(model_);
    facts["weight_bytes"] = llama_model_size(model_);
    facts["trained_context"] = llama_model_n_ctx_train(model_);
    facts["context"] = loaded.context;
    facts["cells"] = cells_;
    facts["cell_bytes"] = cell_bytes();
    facts["slots"] = slots_;
    facts["threads"] = thread_count_;
    facts["layers"] = llama_model_n_layer(model_);
    facts["pooling"] = NameOf(pooling_);
    facts["text_bytes"] = pooling_ == Pooling::kNone ? 0 : TextContext::MostBytes(*this);
    facts["generates"] = generates();
  }
  loaded.facts = facts.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return loaded;
}

}  // namespace evenkeel
