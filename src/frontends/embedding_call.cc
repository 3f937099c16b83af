#include "frontends/embedding_call.h"

#include "core/format.h"

namespace evenkeel {

HttpEmbeddingCall::HttpEmbeddingCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                                     EmbeddingRequest& request, Time latest, std::string headers,
                                     Body body)
    : exchange_(exchange),
      model_(std::move(model)),
      headers_(std::move(headers)),
      body_(std::move(body)) {
  texts = std::move(request.texts);
  tokens = std::move(request.tokens);
  query = std::move(request.query);
  truncate = request.truncate;
  arrived = exchange.received();
  deadline = latest;
}

void HttpEmbeddingCall::Done(const Status& status, const std::vector<std::vector<float>>& rows,
                             int prompt_tokens) {
  const size_t inputs = texts.empty() ? tokens.size() : texts.size();
  HttpResponse response;
  if (!status.ok()) {
    response = ApiErrorResponse(ModelError(status));
  } else if (rows.size() != inputs) {
    response = ApiErrorResponse(
        {Internal("the model gave {} rows for {} texts", rows.size(), inputs), "", ""});
  } else {
    response.body = body_(rows, prompt_tokens);
  }
  const double ms = Seconds(SteadyClock::Instance().Now() - arrived) * 1e3;
  response.headers.append(fmt::format("Server-Timing: total;dur={:.3f}\r\n", ms)).append(headers_);
  exchange_.Respond(std::move(response));  // may free this
}

}  // namespace evenkeel
