#include "frontends/rerank_call.h"

#include "core/format.h"
#include "frontends/openai_answer.h"

namespace evenkeel {

HttpRerankCall::HttpRerankCall(HttpExchange& exchange, std::shared_ptr<LanguageModel> model,
                               RerankRequest request, Time latest, std::string headers)
    : exchange_(exchange),
      model_(std::move(model)),
      model_name_(std::move(request.inputs.model)),
      headers_(std::move(headers)),
      top_n_(request.top_n),
      return_documents_(request.return_documents) {
  texts = std::move(request.inputs.texts);
  arrived = exchange.received();
  deadline = latest;
}

void HttpRerankCall::Done(const Status& status, const std::vector<std::vector<float>>& rows,
                          int prompt_tokens) {
  HttpResponse response;
  if (!status.ok()) {
    response = ApiErrorResponse(ModelError(status));
  } else if (rows.size() != texts.size()) {
    response = ApiErrorResponse({Internal("model '{}' gave {} vectors for {} texts", model_name_,
                                          rows.size(), texts.size()),
                                 "", ""});
  } else {
    const std::vector<std::string> documents(texts.begin() + 1, texts.end());
    response.body = RerankJson(Nearness(rows), top_n_, return_documents_ ? &documents : nullptr,
                               prompt_tokens, model_name_);
  }
  const double ms = Seconds(SteadyClock::Instance().Now() - arrived) * 1e3;
  response.headers.append(fmt::format("Server-Timing: total;dur={:.3f}\r\n", ms)).append(headers_);
  exchange_.Respond(std::move(response));  // may free this
}

}  // namespace evenkeel
