// A language model as a step of an ensemble: texts come and go as BYTES tensors.
//
//   generates  text_input (continued as it is) or chat_input (one user's message), max_tokens?  ->  text_output, of the same shape
//   embeds     texts                                                                            ->  embedding FP32, with the vector's axis behind
//   ranks      query (one), documents                                                           ->  score FP32, of the documents' shape
// Which of these a call is follows from its inputs; outputs of the others come without a type. Several texts are answered side by side.
// Answers are the likeliest text (temperature 0), so that a graph gives the same for the same, of at most kTokens tokens where max_tokens (one
// INT32 or INT64) says nothing.
// Contract: as ServedModel, for one call or several. All texts of a call are asked for at once: where one is refused (it would wait too long, is empty,
//   or leaves no room in the context), the call is. Errors: kInvalidArgument (inputs that are none of the above, not UTF-8, or too many), else
//   the model's; the first text that fails ends the call, and the others are cancelled.
// Thread-safety: as ServedModel. Source: B4; the names are those of OIP's generate extension.
#pragma once

#include <memory>
#include <string>

#include "core/clock.h"
#include "core/generation.h"
#include "core/served_model.h"
#include "server/open_calls.h"

namespace evenkeel {

class TextStepCall;

class TextStep final : public ServedModel, public std::enable_shared_from_this<TextStep> {
 public:
  static constexpr int kTokens = 256;
  static constexpr int64_t kMostAnswers = 64, kMostTexts = 2048;

  TextStep(std::shared_ptr<LanguageModel> model, const Clock& clock);

  const std::string& name() const override { return info_.name; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return signature_; }
  bool reachable() const override { return model_->reachable(); }
  void Infer(InferCall* call) override;
  void Cancel(InferCall* call) override;

 private:
  friend class TextStepCall;

  const std::shared_ptr<LanguageModel> model_;
  const Clock& clock_;
  const LanguageModelInfo info_;
  const std::string version_ = "1";
  const Signature signature_;
  OpenCalls<TextStepCall> open_;
};

}  // namespace evenkeel
