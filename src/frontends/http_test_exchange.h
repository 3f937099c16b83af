// An HttpExchange without a connection: a test asks, the handler answers, the test reads.
// Thread-safety: as HttpExchange.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http_message.h"

namespace evenkeel {

class TestExchange final : public HttpExchange {
 public:
  TestExchange(HttpMethod method, std::string target, std::string body = "",
               std::vector<std::pair<std::string, std::string>> fields = {})
      : target_(std::move(target)), body_text_(std::move(body)), fields_(std::move(fields)) {
    head_.method = method;
    head_.method_name = method == HttpMethod::kGet    ? "GET"
                        : method == HttpMethod::kPost ? "POST"
                                                      : "DELETE";
    head_.target = target_;
    head_.path = head_.target.substr(0, std::min(head_.target.find('?'), target_.size()));
    head_.query = head_.target.substr(std::min(head_.path.size() + 1, target_.size()));
    for (const auto& [name, value] : fields_) head_.fields.push_back({name, value});
    body_ = std::as_bytes(std::span(body_text_));
    received_ = SteadyClock::Instance().Now();
  }

  void Respond(HttpResponse r) override {
    response = std::move(r);
    ++answers;
  }
  void StartStream(HttpResponse head, HttpHeartbeat beat) override {
    response = std::move(head);
    heartbeat = std::move(beat);
    streamed = true;
  }
  bool Send(std::string_view piece) override {
    response.body.append(piece);
    return !cut;
  }
  using HttpExchange::EndStream;
  void EndStream(std::string fields) override {
    trailers = std::move(fields);
    ++answers;
  }
  bool gone() const override { return false; }
  void Cancel() {
    if (work_ != nullptr) work_->OnCancel();
  }

  // The value of a field of the answer, or "".
  std::string Field(std::string_view name) const {
    const size_t at = response.headers.find(std::string(name) + ": ");
    if (at == std::string::npos) return "";
    const size_t from = at + name.size() + 2;
    return response.headers.substr(from, response.headers.find("\r\n", from) - from);
  }

  HttpResponse response;  // of a stream: all pieces together
  HttpHeartbeat heartbeat;
  std::string trailers;  // of a stream
  int answers = 0;
  bool streamed = false;
  bool cut = false;  // the client reads no more: Send() says so

 private:
  const std::string target_;
  const std::string body_text_;
  const std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace evenkeel
