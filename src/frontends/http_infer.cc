#include "frontends/http_infer.h"

#include "core/format.h"
#include "frontends/client_gone.h"
#include "frontends/http_reply.h"
#include "frontends/http_request_checks.h"
#include "frontends/kserve_json.h"
#include "frontends/kserve_json_write.h"
#include "frontends/server_timing.h"
#include "net/gzip.h"

namespace evenkeel {
namespace {

// One request on its way through the model. Owned by its exchange.
class HttpInferCall final : public InferCall, public HttpWork {
 public:
  HttpInferCall(HttpExchange& exchange, std::shared_ptr<ServedModel> model)
      : exchange_(exchange), model_(std::move(model)) {}

  Status Read() {
    const Result<std::optional<uint64_t>> json_size =
        NumberHeader(exchange_, "Inference-Header-Content-Length");
    if (!json_size.ok()) return json_size.status();
    const Result<Time> latest = DeadlineOf(exchange_);
    if (!latest.ok()) return latest.status();
    EK_RETURN_IF_ERROR(ParseInferRequest(exchange_.body(), *json_size, model_->name(),
                                         model_->signature(), &request_));
    inputs = std::move(request_.inputs);
    priority = request_.priority;
    arrived = exchange_.received();
    deadline = *latest;
    if (request_.timeout > Duration::zero())
      deadline = std::min<Time>(deadline, arrived + request_.timeout);
    const std::string_view accepted = exchange_.Header("accept-encoding");
    if (!accepted.empty()) coding_ = ChooseCoding(accepted);
    return {};
  }

  void Start() { model_->Infer(this); }

  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override {
    HttpResponse response = status.ok() ? Write(outputs) : ErrorResponse(status);
    response.headers.append("Server-Timing: ").append(ServerTiming(timings)).append("\r\n");
    exchange_.Respond(std::move(response));  // may free this
  }

  void OnCancel() override {
    LogClientGone(model_->name(), "HTTP");
    model_->Cancel(this);
  }

 private:
  // Only a client that asks for nothing but gzip or deflate gets it: general clients list codings
  // by habit, and compressing floating-point tensors costs more than it saves.
  static Coding ChooseCoding(std::string_view accepted) {
    if (EqualsNoCase(accepted, "gzip")) return Coding::kGzip;
    if (EqualsNoCase(accepted, "deflate")) return Coding::kDeflate;
    return Coding::kIdentity;
  }

  HttpResponse Write(std::span<const TensorView> outputs) {
    Result<InferBody> body =
        WriteInferBody(request_, model_->name(), model_->version(), model_->signature(), outputs);
    if (!body.ok())
      return ErrorResponse(body.status().Annotate(fmt::format("model '{}'", model_->name())));
    HttpResponse response;
    if (body->json_size) {
      response.content_type = "application/octet-stream";
      response.headers = fmt::format("Inference-Header-Content-Length: {}\r\n", *body->json_size);
    }
    if (!body->warning.empty()) {
      const std::string text = HeaderSafe(body->warning);
      response.headers.append("X-Evenkeel-Warning: ").append(text).append("\r\n");
    }
    response.body = std::move(body->bytes);
    if (coding_ != Coding::kIdentity) Compress(&response);
    return response;
  }

  void Compress(HttpResponse* response) const {
    Result<std::string> small = Deflate(response->body, coding_);
    if (!small.ok()) return;  // sent as it is, which the client must understand as well
    response->body = *std::move(small);
    response->headers.append(coding_ == Coding::kGzip ? "Content-Encoding: gzip\r\n"
                                                      : "Content-Encoding: deflate\r\n");
  }

  HttpExchange& exchange_;
  const std::shared_ptr<ServedModel> model_;
  InferRequest request_;
  Coding coding_ = Coding::kIdentity;
};

}  // namespace

void HandleInfer(const GuardedService& service, std::string_view model, std::string_view version,
                 HttpExchange& exchange) {
  const Status type = CheckContentType(exchange, "application/octet-stream");
  if (!type.ok()) {
    exchange.Respond(JsonError(415, type.message()));
    return;
  }
  Result<std::shared_ptr<ServedModel>> found = service.Find(model, version);
  if (!found.ok()) {
    ReplyError(exchange, found.status());
    return;
  }
  auto call = std::make_unique<HttpInferCall>(exchange, *std::move(found));
  const Status status = call->Read();
  if (!status.ok()) {
    ReplyError(exchange, status);
    return;
  }
  HttpInferCall* const raw = call.get();
  exchange.Own(std::move(call));
  raw->Start();
}

}  // namespace evenkeel
