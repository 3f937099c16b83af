#include "frontends/generate_http.h"

#include <algorithm>

#include "core/format.h"
#include "frontends/http_reply.h"
#include "frontends/http_request_checks.h"
#include "frontends/openai_answer.h"
#include "frontends/openai_request.h"
#include "frontends/text_call.h"

namespace evenkeel {
namespace {

constexpr std::string_view kOnlyVersion = "1";

class GenerateWriter final : public AnswerWriter {
 public:
  GenerateWriter(std::string_view model, std::string id) {
    head_ = "{";
    if (!id.empty()) {
      head_.append("\"id\":");
      AppendJsonString(id, &head_);
      head_.push_back(',');
    }
    head_.append("\"model_name\":");
    AppendJsonString(model, &head_);
    head_.append(R"(,"model_version":")").append(kOnlyVersion).append(R"(","text_output":)");
  }

  std::string Piece(int, const GenerationDelta& delta) override {
    const std::string text = delta.reasoning + delta.text;
    return text.empty() ? "" : Event(text, "");
  }
  std::string Finish(int, FinishReason reason) override { return Event("", NameOf(reason)); }
  std::string End(const GenerationUsage&) override { return ""; }
  std::string ErrorPiece(const ApiError& error) override {
    return fmt::format("data: {}\n\n", ErrorResponse(error.status).body);
  }
  std::string Whole(const std::vector<GeneratedChoice>& choices, const GenerationUsage&) override {
    const GeneratedChoice& only = choices.front();
    return Json(only.reasoning + only.text, NameOf(only.reason));
  }
  HttpResponse Refusal(const ApiError& error) override { return ErrorResponse(error.status); }

 private:
  std::string Json(std::string_view text, std::string_view reason) const {
    std::string out = head_;
    AppendJsonString(text, &out);
    if (!reason.empty())
      out.append(R"(,"details":{"finish_reason":")").append(reason).append("\"}");
    return out.append("}");
  }
  std::string Event(std::string_view text, std::string_view reason) const {
    return fmt::format("data: {}\n\n", Json(text, reason));
  }

  std::string head_;
};

// A model that is here and takes tensors is another mistake than one that is not here.
Status Explain(const GuardedService& service, std::string_view model, std::string_view verb,
               Status unknown) {
  if (unknown.code() != Code::kNotFound || !service.ModelReady(model, "").ok()) return unknown;
  return Unsupported("model '{}': '{}' is not supported, use infer", model, verb);
}

Status Prepare(const GuardedService& service, std::string_view model, std::string_view version,
               bool stream, HttpExchange& exchange, TextRequest* request,
               std::shared_ptr<LanguageModel>* found) {
  Result<std::shared_ptr<LanguageModel>> result = service.FindLanguageModel(model);
  if (!result.ok())
    return Explain(service, model, stream ? "generate_stream" : "generate", result.status());
  if (!version.empty() && version != kOnlyVersion)
    return NotFound("model '{}' has no version {}", model, version);
  const std::span<const std::byte> body = exchange.body();
  const ApiError error =
      ParseGenerateRequest({reinterpret_cast<const char*>(body.data()), body.size()}, request);
  if (!error.ok()) return error.status.Annotate(fmt::format("model '{}'", model));
  request->model = model;
  *found = *std::move(result);
  return CheckPrompts((*found)->Info(), *request).status;
}

}  // namespace

void HandleGenerate(const GuardedService& service, std::string_view model, std::string_view version,
                    bool stream, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kPost})) return;
  const Status type = CheckContentType(exchange, "");
  if (!type.ok()) return exchange.Respond(JsonError(415, type.message()));
  const Result<Time> deadline = DeadlineOf(exchange);
  if (!deadline.ok()) return ReplyError(exchange, deadline.status());
  TextRequest request;
  std::shared_ptr<LanguageModel> found;
  const Status status = Prepare(service, model, version, stream, exchange, &request, &found);
  if (!status.ok()) return ReplyError(exchange, status);
  const std::string warning = IgnoredWarning(request.unknown);
  TextCallOptions options;
  options.stream = stream;
  options.deadline = *deadline;
  options.priority = request.priority;
  if (request.timeout > Duration::zero())
    options.deadline = std::min<Time>(*deadline, exchange.received() + request.timeout);
  if (!warning.empty()) options.headers = "X-Evenkeel-Warning: " + warning + "\r\n";
  auto call = std::make_unique<TextCall>(exchange, std::move(found),
                                         std::make_unique<GenerateWriter>(model, request.id),
                                         std::move(options));
  TextCall* const raw = call.get();
  exchange.Own(std::move(call));
  raw->Start(std::move(request.prompts));
}

}  // namespace evenkeel
