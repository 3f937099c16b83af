// What a GGUF file says of the language model in it, after the check of gguf_check.h has passed.
//
// Texts are UTF-8. Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>

namespace evenkeel {

struct GgufFacts {
  std::string architecture;  // "llama"
  std::string name;          // as its makers call it; may be empty
  std::string licence;       // may be empty
  std::string
      quantisation;  // general.file_type in words ("Q4_K_M"); where it says nothing, weight_type
  std::string weight_type;  // the tensor type that most bytes are in ("Q4_K")
  std::string pooling;  // "none", "mean", "cls", "last", "rank"; empty when the file says nothing
  int context_tokens = 0;  // that it was made for, at least 1
  int blocks = 0;          // layers, at least 1
  int embedding = 0;       // numbers a token is made of between layers
  int heads = 0;           // of the layer with most; 0 for models without attention
  int kv_heads = 0;        // likewise
  int vocabulary = 0;      // token ids are below it
  bool chat_template = false;
  uint64_t parameters = 0;   // numbers in all tensors
  int64_t weight_bytes = 0;  // of all tensors
  int64_t file_bytes = 0;
  int64_t kv_bytes_per_token =
      0;  // in f16, all layers; an upper bound where layers share or window their cache
};

}  // namespace evenkeel
