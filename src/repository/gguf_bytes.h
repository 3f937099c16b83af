// Writes GGUF files by hand, so that tests can make language models, right and wrong.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "repository/gguf_types.h"

namespace evenkeel {

// The low `bytes` bytes of `value`, little-endian.
inline std::string LittleEndianBytes(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}
inline std::string GgufText(std::string_view text) {
  return LittleEndianBytes(text.size(), 8) + std::string(text);
}

class GgufBytes {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type = 0;
    uint64_t bytes = 0;              // of data
    std::optional<uint64_t> offset;  // unset: behind the one before
    std::optional<uint32_t> rank;    // unset: as many as dims
  };

  // What the header says instead of the truth.
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> key_count, tensor_count;
  uint64_t alignment = 32;  // of the data; the key is the caller's to set
  std::vector<Tensor> tensors;

  // A key with a value of any type, as it stands in the file. Replaces the key when it is there.
  GgufBytes& Set(const std::string& key, uint32_t type, const std::string& value) {
    Remove(key);
    keys_.emplace_back(key, LittleEndianBytes(type, 4) + value);
    return *this;
  }
  GgufBytes& Set(const std::string& key, GgufType type, const std::string& value) {
    return Set(key, static_cast<uint32_t>(type), value);
  }
  GgufBytes& U32(const std::string& key, uint32_t value) {
    return Set(key, GgufType::kUint32, LittleEndianBytes(value, 4));
  }
  GgufBytes& F32(const std::string& key, float value) {
    return Set(key, GgufType::kFloat32, LittleEndianBytes(std::bit_cast<uint32_t>(value), 4));
  }
  GgufBytes& Text(const std::string& key, std::string_view value) {
    return Set(key, GgufType::kString, GgufText(value));
  }
  // `items` as they stand in the file; `count` may lie.
  GgufBytes& Array(const std::string& key, GgufType item, uint64_t count,
                   const std::string& items) {
    return Set(key, GgufType::kArray, ArrayBytes(item, count, items));
  }
  static std::string ArrayBytes(GgufType item, uint64_t count, const std::string& items) {
    return LittleEndianBytes(static_cast<uint64_t>(item), 4) + LittleEndianBytes(count, 8) + items;
  }
  GgufBytes& Texts(const std::string& key, const std::vector<std::string>& texts) {
    std::string items;
    for (const std::string& text : texts) items += GgufText(text);
    return Array(key, GgufType::kString, texts.size(), items);
  }
  GgufBytes& U32s(const std::string& key, const std::vector<uint32_t>& numbers,
                  GgufType item = GgufType::kUint32) {
    std::string items;
    for (uint32_t number : numbers) items += LittleEndianBytes(number, 4);
    return Array(key, item, numbers.size(), items);
  }
  GgufBytes& Remove(const std::string& key) {
    std::erase_if(keys_, [&](const auto& entry) { return entry.first == key; });
    return *this;
  }
  // The same key once more.
  GgufBytes& Repeat(const std::string& key) {
    for (const auto& entry : keys_) {
      if (entry.first != key) continue;
      keys_.push_back(std::pair(entry));
      break;
    }
    return *this;
  }
  GgufBytes& Add(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                 uint64_t bytes) {
    tensors.push_back({name, dims, type, bytes, std::nullopt, std::nullopt});
    return *this;
  }
  // REQUIRES: there is such a tensor.
  Tensor& Find(std::string_view name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    return tensors.front();
  }

  // Everything before the data.
  std::string Header() const {
    std::string out = magic + LittleEndianBytes(version, 4) +
                      LittleEndianBytes(tensor_count.value_or(tensors.size()), 8) +
                      LittleEndianBytes(key_count.value_or(keys_.size()), 8);
    for (const auto& [key, value] : keys_) out += GgufText(key) + value;
    uint64_t next = 0;
    for (const Tensor& tensor : tensors) {
      out += GgufText(tensor.name) +
             LittleEndianBytes(tensor.rank.value_or(static_cast<uint32_t>(tensor.dims.size())), 4);
      for (uint64_t dim : tensor.dims) out += LittleEndianBytes(dim, 8);
      out += LittleEndianBytes(tensor.type, 4) + LittleEndianBytes(tensor.offset.value_or(next), 8);
      next = Padded(next + tensor.bytes);
    }
    return out;
  }
  // The file. It ends with the last tensor's last byte.
  std::string Build() const {
    std::string out = Header();
    for (const Tensor& tensor : tensors) {
      out.resize(Padded(out.size()), '\0');
      out.append(tensor.bytes, '\1');
    }
    return out;
  }

 private:
  uint64_t Padded(uint64_t bytes) const { return (bytes + alignment - 1) / alignment * alignment; }

  std::vector<std::pair<std::string, std::string>> keys_;
};

// A whole model: 2 blocks, 32 wide, 4 heads with 2 KV heads, 5 tokens, all in F32; 1 KiB of weights.
inline GgufBytes TinyGguf() {
  GgufBytes file;
  file.Text("general.architecture", "llama")
      .Text("general.name", "Tiny")
      .Text("general.license", "apache-2.0")
      .U32("general.file_type", 0)
      .U32("llama.block_count", 2)
      .U32("llama.context_length", 64)
      .U32("llama.embedding_length", 32)
      .U32("llama.feed_forward_length", 64)
      .U32("llama.attention.head_count", 4)
      .U32("llama.attention.head_count_kv", 2)
      .F32("llama.attention.layer_norm_rms_epsilon", 1e-5F)
      .F32("llama.rope.freq_base", 10'000)
      .Text("tokenizer.ggml.model", "gpt2")
      .Texts("tokenizer.ggml.tokens", {"<s>", "</s>", "a", "b", "ab"})
      .U32s("tokenizer.ggml.token_type", {3, 3, 1, 1, 1}, GgufType::kInt32)
      .Array("tokenizer.ggml.scores", GgufType::kFloat32, 5, std::string(20, '\0'))
      .Texts("tokenizer.ggml.merges", {"a b"})
      .U32("tokenizer.ggml.bos_token_id", 0)
      .U32("tokenizer.ggml.eos_token_id", 1)
      .Set("tokenizer.ggml.add_bos_token", GgufType::kBool, std::string(1, '\1'))
      .Text("tokenizer.chat_template", "{{ messages }}");
  file.Add("token_embd.weight", {32, 5}, 0, 640)
      .Add("blk.0.attn_norm.weight", {32}, 0, 128)
      .Add("blk.1.attn_norm.weight", {32}, 0, 128)
      .Add("output_norm.weight", {32}, 0, 128);
  return file;
}

}  // namespace evenkeel
