// Writes what tiny_gguf.h says, and sees that both kinds load.
#include "engines/llamacpp/tiny_gguf.h"

#include <ggml.h>
#include <gguf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/format.h"
#include "engines/llamacpp/llama_model.h"

namespace evenkeel {
namespace {

constexpr int kForward = 128;
constexpr int kBlocks = 2;

class Writer {
 public:
  explicit Writer(const TinyGguf& model)
      : model_(model),
        random_(model.seed),
        file_(gguf_init_empty()),
        tensors_(ggml_init({/*mem_size=*/size_t{8} << 20, nullptr, /*no_alloc=*/false})) {}
  ~Writer() {
    gguf_free(file_);
    ggml_free(tensors_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void Write(const std::string& path) {
    Text("general.architecture", Architecture());
    Number("block_count", kBlocks);
    Number("context_length", model_.context);
    Number("embedding_length", kTinyWidth);
    Number("feed_forward_length", kForward);
    Number("attention.head_count", 4);
    if (model_.pooling) Number("pooling_type", static_cast<int>(*model_.pooling));
    if (!model_.pair.empty()) Text("tokenizer.chat_template.rerank", model_.pair);
    Vocabulary();
    if (model_.encoder) {
      Bert();
    } else {
      Llama();
    }
    EK_CHECK(gguf_write_to_file(file_, path.c_str(), /*only_meta=*/false));
  }

 private:
  const char* Architecture() const { return model_.encoder ? "bert" : "llama"; }
  std::string Key(const std::string& name) const {
    return fmt::format("{}.{}", Architecture(), name);
  }
  void Text(const std::string& key, const std::string& value) {
    gguf_set_val_str(file_, key.c_str(), value.c_str());
  }
  void Number(const std::string& name, int value) {
    gguf_set_val_u32(file_, Key(name).c_str(), static_cast<uint32_t>(value));
  }
  void Real(const std::string& name, float value) {
    gguf_set_val_f32(file_, Key(name).c_str(), value);
  }
  void Role(const char* role, uint32_t token) {
    gguf_set_val_u32(file_, fmt::format("tokenizer.ggml.{}_token_id", role).c_str(), token);
  }

  // Matrices have numbers that a layer keeps in size; what scales is near 1, what shifts near 0.
  void Add(const std::string& name, std::vector<int64_t> shape, float mean, float spread) {
    ggml_tensor* tensor =
        ggml_new_tensor(tensors_, GGML_TYPE_F32, static_cast<int>(shape.size()), shape.data());
    ggml_set_name(tensor, name.c_str());
    std::normal_distribution<float> numbers(mean, spread);
    auto* data = static_cast<float*>(tensor->data);
    for (int64_t i = 0; i < ggml_nelements(tensor); ++i) data[i] = numbers(random_);
    gguf_add_tensor(file_, tensor);
  }
  void Matrix(const std::string& name, int64_t in, int64_t out) {
    Add(name + ".weight", {in, out}, 0, 0.2F);
  }
  void Scale(const std::string& name) { Add(name + ".weight", {kTinyWidth}, 1, 0.1F); }
  void Shift(const std::string& name, int64_t size) { Add(name + ".bias", {size}, 0, 0.1F); }
  void Full(const std::string& name, int64_t in, int64_t out) {
    Matrix(name, in, out);
    Shift(name, out);
  }
  void Norm(const std::string& name) {
    Scale(name);
    Shift(name, kTinyWidth);
  }

  void Vocabulary() {
    std::vector<std::string> tokens =
        model_.encoder ? std::vector<std::string>{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
                       : std::vector<std::string>{"<unk>", "<s>", "</s>", "<pad>", "<mask>"};
    std::vector<int32_t> kinds(tokens.size(), 3);  // control
    for (int byte = 0; !model_.encoder && byte < 256; ++byte) {
      tokens.push_back(fmt::format("<0x{:02X}>", byte));
      kinds.push_back(6);
    }
    while (tokens.size() < kTinyVocabulary) {
      tokens.push_back(fmt::format("\xe2\x96\x81w{}", tokens.size()));
      kinds.push_back(1);
    }
    const std::vector<float> scores(tokens.size(), 0);
    std::vector<const char*> texts;
    for (const std::string& token : tokens) texts.push_back(token.c_str());
    Text("tokenizer.ggml.model", model_.encoder ? "bert" : "llama");
    gguf_set_arr_str(file_, "tokenizer.ggml.tokens", texts.data(), texts.size());
    gguf_set_arr_data(file_, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, kinds.data(),
                      kinds.size());
    gguf_set_arr_data(file_, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(),
                      scores.size());
    if (!model_.encoder) {
      Role("bos", 1);
      Role("eos", 2);
      Role("unknown", 0);
      return;
    }
    gguf_set_val_u32(file_, "tokenizer.ggml.token_type_count", 2);
    Role("padding", 0);
    Role("unknown", 1);
    Role("bos", 2);
    Role("cls", 2);
    Role("seperator", 3);  // as the format spells it
    Role("mask", 4);
  }

  void Bert() {
    Real("attention.layer_norm_epsilon", 1e-5F);
    gguf_set_val_bool(file_, Key("attention.causal").c_str(), false);
    Matrix("token_embd", kTinyWidth, kTinyVocabulary);
    Matrix("token_types", kTinyWidth, 2);
    Matrix("position_embd", kTinyWidth, model_.context);
    Norm("token_embd_norm");
    for (int block = 0; block < kBlocks; ++block) {
      const auto in = [&](const char* name) { return fmt::format("blk.{}.{}", block, name); };
      for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
        Full(in(name), kTinyWidth, kTinyWidth);
      Norm(in("attn_output_norm"));
      Full(in("ffn_up"), kTinyWidth, kForward);
      Full(in("ffn_down"), kForward, kTinyWidth);
      Norm(in("layer_output_norm"));
    }
    if (!model_.head) return;
    Full("cls", kTinyWidth, kTinyWidth);
    Full("cls.output", kTinyWidth, 1);
  }

  void Llama() {
    Real("attention.layer_norm_rms_epsilon", 1e-5F);
    Number("attention.head_count_kv", 2);
    Number("rope.dimension_count", kTinyWidth / 4);
    Matrix("token_embd", kTinyWidth, kTinyVocabulary);
    Scale("output_norm");
    for (int block = 0; block < kBlocks; ++block) {
      const auto in = [&](const char* name) { return fmt::format("blk.{}.{}", block, name); };
      Scale(in("attn_norm"));
      Matrix(in("attn_q"), kTinyWidth, kTinyWidth);
      Matrix(in("attn_k"), kTinyWidth, kTinyWidth / 2);
      Matrix(in("attn_v"), kTinyWidth, kTinyWidth / 2);
      Matrix(in("attn_output"), kTinyWidth, kTinyWidth);
      Scale(in("ffn_norm"));
      Matrix(in("ffn_gate"), kTinyWidth, kForward);
      Matrix(in("ffn_up"), kTinyWidth, kForward);
      Matrix(in("ffn_down"), kForward, kTinyWidth);
    }
  }

  const TinyGguf& model_;
  std::mt19937 random_;
  gguf_context* file_;
  ggml_context* tensors_;
};

TEST(TinyGgufTest, BothKindsLoad) {
  for (const bool encoder : {false, true}) {
    LlmLoad load;
    load.path = testing::TempDir() + fmt::format("tiny_{}_{}.gguf", encoder, ::getpid());
    WriteTinyGguf({.encoder = encoder}, load.path);
    const auto model = LlamaModel::Load(load);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_EQ((*model)->vocabulary(), kTinyVocabulary);
    EXPECT_EQ((*model)->vector_size(), kTinyWidth);
    EXPECT_EQ((*model)->generates(), !encoder);
    EXPECT_EQ((*model)->Describe().context, 256);
    EXPECT_EQ((*model)->Describe().generates(), !encoder);
    EXPECT_EQ((*model)->Describe().pooling, encoder ? Pooling::kMean : Pooling::kLast);
    std::remove(load.path.c_str());
  }
}

TEST(TinyGgufTest, RankAndNoneAreRefusedWhereTheyMakeNoSense) {
  LlmLoad load;
  load.path = testing::TempDir() + fmt::format("tiny_rank_{}.gguf", ::getpid());
  WriteTinyGguf({.encoder = true, .pooling = Pooling::kCls}, load.path);
  load.pooling = Pooling::kRank;
  EXPECT_EQ(LlamaModel::Load(load).status().code(), Code::kInvalidArgument);
  load.pooling = Pooling::kNone;
  EXPECT_EQ(LlamaModel::Load(load).status().code(), Code::kInvalidArgument);
  load.pooling = Pooling::kLast;
  EXPECT_EQ((*LlamaModel::Load(load))->pooling(), Pooling::kLast);
  WriteTinyGguf({.encoder = true, .pooling = Pooling::kRank, .head = true}, load.path);
  load.pooling = {};
  const auto ranks = LlamaModel::Load(load);
  ASSERT_TRUE(ranks.ok()) << ranks.status().ToString();
  EXPECT_EQ((*ranks)->pooling(), Pooling::kRank);
  EXPECT_FALSE((*ranks)->generates());
  std::remove(load.path.c_str());
}

}  // namespace

void WriteTinyGguf(const TinyGguf& model, const std::string& path) { Writer(model).Write(path); }

}  // namespace evenkeel
