#include "frontends/openai_http.h"

#include "core/format.h"
#include "frontends/http_reply.h"
#include "frontends/http_request_checks.h"
#include "frontends/openai_answer.h"
#include "frontends/openai_request.h"
#include "frontends/text_call.h"

namespace evenkeel {
namespace {

std::string_view TextOf(std::span<const std::byte> body) {
  return {reinterpret_cast<const char*>(body.data()), body.size()};
}

// False: answered with 405 or 415.
bool IsPostedJson(HttpExchange& exchange) {
  if (exchange.head().method != HttpMethod::kPost) {
    HttpResponse response = ApiErrorResponse(
        405, fmt::format("{} is not allowed here, expected POST", exchange.head().method_name));
    response.headers = "Allow: POST\r\n";
    exchange.Respond(std::move(response));
    return false;
  }
  const Status type = CheckContentType(exchange, "");
  if (!type.ok()) exchange.Respond(ApiErrorResponse(415, type.message()));
  return type.ok();
}

bool IsGet(HttpExchange& exchange) {
  const HttpMethod method = exchange.head().method;
  if (method == HttpMethod::kGet || method == HttpMethod::kHead) return true;
  HttpResponse response = ApiErrorResponse(
      405, fmt::format("{} is not allowed here, expected GET", exchange.head().method_name));
  response.headers = "Allow: GET, HEAD\r\n";
  exchange.Respond(std::move(response));
  return false;
}

// Of a model that was looked for.
ApiError ModelLookupError(const Status& status) {
  switch (status.code()) {
    case Code::kNotFound: return {status, "model", "model_not_found"};
    case Code::kPermissionDenied: return {status, "model", ""};
    default: return {status, "", ""};
  }
}

Result<std::shared_ptr<LanguageModel>> Find(const GuardedService& service, std::string_view name,
                                            ApiError* error) {
  Result<std::shared_ptr<LanguageModel>> found = service.FindLanguageModel(name);
  if (!found.ok()) *error = ModelLookupError(found.status());
  return found;
}

std::string WarningHeader(const std::vector<std::string>& unknown) {
  const std::string text = IgnoredWarning(unknown);
  return text.empty() ? "" : "X-Evenkeel-Warning: " + text + "\r\n";
}

std::unique_ptr<AnswerWriter> WriterFor(const TextRequest& request) {
  const GenerationRequest& first = request.prompts.front();
  const bool logprobs = first.top_logprobs >= 0;
  if (request.chat)
    return NewChatWriter(NewIdentity("chatcmpl-", request.model), request.include_usage, logprobs);
  std::vector<std::string> echo;
  if (request.echo) {
    for (const GenerationRequest& prompt : request.prompts) echo.push_back(prompt.prompt);
  }
  return NewCompletionWriter(NewIdentity("cmpl-", request.model), request.include_usage, logprobs,
                             std::move(echo), first.choices);
}

}  // namespace

bool OpenAiHttp::Handle(const HttpPath& path, HttpExchange& exchange) {
  if (path[0] != "v1") return false;
  if (path[1] == "models" && path.size() == 2) {
    Models(exchange);
  } else if (path[1] == "models" && path.size() == 3) {
    Model(path[2], exchange);
  } else if (path[1] == "chat" && path[2] == "completions" && path.size() == 3) {
    Text(/*chat=*/true, exchange);
  } else if (path[1] == "completions" && path.size() == 2) {
    Text(/*chat=*/false, exchange);
  } else if (path[1] == "embeddings" && path.size() == 2) {
    Embeddings(exchange);
  } else if (path[1] == "rerank" && path.size() == 2) {
    Rerank(exchange);
  } else {
    return false;
  }
  return true;
}

void OpenAiHttp::Models(HttpExchange& exchange) {
  if (!IsGet(exchange)) return;
  HttpResponse response;
  response.body = ModelsJson(service_.LanguageModels());
  exchange.Respond(std::move(response));
}

void OpenAiHttp::Model(std::string_view name, HttpExchange& exchange) {
  if (!IsGet(exchange)) return;
  const Result<LanguageModelInfo> model = service_.DescribeLanguageModel(name);
  if (!model.ok()) return exchange.Respond(ApiErrorResponse(ModelLookupError(model.status())));
  HttpResponse response;
  response.body = ModelJson(*model);
  exchange.Respond(std::move(response));
}

void OpenAiHttp::Text(bool chat, HttpExchange& exchange) {
  if (!IsPostedJson(exchange)) return;
  const Result<Time> deadline = DeadlineOf(exchange);
  if (!deadline.ok())
    return exchange.Respond(ApiErrorResponse({deadline.status(), "X-Request-Timeout-Ms", ""}));
  TextRequest request;
  const std::string_view body = TextOf(exchange.body());
  ApiError error = chat ? ParseChatRequest(body, &request) : ParseCompletionRequest(body, &request);
  if (!error.ok()) return exchange.Respond(ApiErrorResponse(error));
  auto model = Find(service_, request.model, &error);
  if (error.ok()) error = CheckPrompts((*model)->Info(), request);
  if (!error.ok()) return exchange.Respond(ApiErrorResponse(error));
  TextCallOptions options;
  options.stream = request.stream;
  options.deadline = *deadline;
  options.headers = WarningHeader(request.unknown);
  auto call = std::make_unique<TextCall>(exchange, *std::move(model), WriterFor(request),
                                         std::move(options));
  TextCall* const raw = call.get();
  exchange.Own(std::move(call));
  raw->Start(std::move(request.prompts));
}

void OpenAiHttp::Embeddings(HttpExchange& exchange) {
  if (!IsPostedJson(exchange)) return;
  EmbeddingRequest request;
  const ApiError error = ParseEmbeddingRequest(TextOf(exchange.body()), &request);
  if (!error.ok()) return exchange.Respond(ApiErrorResponse(error));
  Embed(exchange, request,
        [name = request.model, base64 = request.base64, dimensions = request.dimensions](
            const auto& rows, int tokens) {
          if (dimensions > 0)
            return EmbeddingsJson(Shortened(rows, dimensions), tokens, name, base64);
          return EmbeddingsJson(rows, tokens, name, base64);
        });
}

void OpenAiHttp::Rerank(HttpExchange& exchange) {
  if (!IsPostedJson(exchange)) return;
  RerankRequest request;
  const ApiError error = ParseRerankRequest(TextOf(exchange.body()), &request);
  if (!error.ok()) return exchange.Respond(ApiErrorResponse(error));
  std::vector<std::string> documents;
  if (request.return_documents) documents = request.inputs.texts;
  Embed(exchange, request.inputs,
        [name = request.inputs.model, top_n = request.top_n, give_back = request.return_documents,
         documents = std::move(documents)](const auto& rows, int tokens) {
          return RerankJson(rows, top_n, give_back ? &documents : nullptr, tokens, name);
        });
}

void OpenAiHttp::Embed(HttpExchange& exchange, EmbeddingRequest& request,
                       HttpEmbeddingCall::Body body) {
  const Result<Time> deadline = DeadlineOf(exchange);
  if (!deadline.ok())
    return exchange.Respond(ApiErrorResponse({deadline.status(), "X-Request-Timeout-Ms", ""}));
  ApiError error;
  auto model = Find(service_, request.model, &error);
  if (error.ok()) error = CheckInputs((*model)->Info(), request);
  if (!error.ok()) return exchange.Respond(ApiErrorResponse(error));
  auto call = std::make_unique<HttpEmbeddingCall>(exchange, *std::move(model), request, *deadline,
                                                  WarningHeader(request.unknown), std::move(body));
  HttpEmbeddingCall* const raw = call.get();
  exchange.Own(std::move(call));
  raw->Start();
}

}  // namespace evenkeel
