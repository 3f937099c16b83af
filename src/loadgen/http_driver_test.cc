// The HTTP driver against a scripted server: whatever the server does, every request has exactly one outcome.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "loadgen/report.h"
#include "loadgen/run.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/tls_context.h"
#include "net/tls_test_pair.h"

namespace evenkeel::loadgen {
namespace {

using std::chrono::milliseconds;

constexpr const char* kRequest = "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// One thread a connection; `answer` gets the number of the request (from 1) and gives the bytes to send; "" closes.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<std::string(int)> answer)
      : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.fd(), 64), 0);
    getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ScriptedServer() {
    shutdown(listener_.fd(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const Socket& s : sockets_) shutdown(s.fd(), SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
  }
  int port() const { return port_; }

 private:
  void Accept() {
    for (int fd; (fd = accept(listener_.fd(), nullptr, nullptr)) >= 0;) {
      const std::lock_guard lock(mutex_);
      sockets_.emplace_back(fd);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }
  void Serve(int fd) {
    std::string read;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      read.append(buffer, static_cast<size_t>(n));
      for (size_t end; (end = read.find("\r\n\r\n")) != std::string::npos; read.erase(0, end + 4)) {
        int number = 0;
        {
          const std::lock_guard lock(mutex_);
          number = ++requests_;
        }
        const std::string answer = answer_(number);
        if (answer.empty()) {
          shutdown(fd, SHUT_RDWR);
          return;
        }
        if (answer != "silence") send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    }
  }

  std::function<std::string(int)> answer_;
  Socket listener_;
  int port_ = 0;
  std::mutex mutex_;
  int requests_ = 0;  // guarded by mutex_, like the two below
  std::vector<Socket> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

LoadPlan PlanFor(int port, Stage stage) {
  LoadPlan plan;
  plan.url = *ParseUrl("http://127.0.0.1:" + std::to_string(port), "80");
  plan.endpoint = *Resolve(plan.url);
  plan.models.push_back({"m", 1, {{kRequest, 1, ""}}, false});
  stage.name = "s";
  plan.stages = {stage};
  plan.timeout = std::chrono::seconds(20);
  return plan;
}

Stage Requests(int concurrency, uint64_t count) {
  Stage stage;
  stage.concurrency = concurrency;
  stage.requests = count;
  return stage;
}

const Counts& RunAll(const LoadPlan& plan, RunRecord* record) {
  const std::atomic<bool> interrupted{false};
  Result<RunRecord> result = RunLoad(plan, interrupted, {});
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  *record = std::move(*result);
  const Counts& counts = record->tally.counts(0, 0);
  EXPECT_EQ(counts.sent,
            counts.ok + counts.wrong + counts.errors_total() + counts.unanswered_total());
  return counts;
}

TEST(HttpDriverTest, CountsEveryKindOfOutcomeOnce) {
  ScriptedServer server([](int number) -> std::string {
    switch (number % 6) {
      case 1: return "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy";
      case 2: return "";         // closed without an answer
      case 3: return "silence";  // times out
      case 4: return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
      case 5: return "nonsense that is not HTTP\r\n\r\n";
      default: return kOk;
    }
  });
  RunRecord record;
  LoadPlan plan = PlanFor(server.port(), Requests(1, 60));
  plan.timeout = milliseconds(700);  // for the ten that are silent
  const Counts& counts = RunAll(plan, &record);
  EXPECT_EQ(counts.sent, 60u);
  EXPECT_EQ(counts.ok, 20u);
  ASSERT_TRUE(counts.errors.contains("429"));
  EXPECT_EQ(counts.errors.at("429").count, 10u);
  EXPECT_EQ(counts.errors.at("429").first_message, "busy");
  EXPECT_EQ(counts.unanswered[static_cast<size_t>(NoAnswer::kClosed)], 10u);
  EXPECT_EQ(counts.unanswered[static_cast<size_t>(NoAnswer::kTimeout)], 10u);
  EXPECT_EQ(counts.unanswered[static_cast<size_t>(NoAnswer::kMalformed)], 10u);
}

TEST(HttpDriverTest, ThreadsShareTheRequests) {
  ScriptedServer server([](int) { return std::string(kOk); });
  LoadPlan plan = PlanFor(server.port(), Requests(5, 1001));
  plan.threads = 3;
  RunRecord record;
  EXPECT_EQ(RunAll(plan, &record).ok, 1001u);
}

TEST(HttpDriverTest, ChecksAnswersAgainstTheReference) {
  ScriptedServer server([](int number) {
    return number == 3 ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno" : std::string(kOk);
  });
  LoadPlan plan = PlanFor(server.port(), Requests(1, 10));
  plan.check_answers = true;
  plan.models[0].requests[0].reference = "ok";
  RunRecord record;
  const Counts& counts = RunAll(plan, &record);
  EXPECT_EQ(counts.ok, 9u);
  EXPECT_EQ(counts.wrong, 1u);
}

TEST(HttpDriverTest, AnOpenLoopCountsLatencyFromTheIntendedTime) {
  // The first answer comes 100 ms late; a cap of one holds the others back meanwhile.
  ScriptedServer server([](int number) {
    if (number == 1) std::this_thread::sleep_for(milliseconds(100));
    return std::string(kOk);
  });
  Stage stage;
  stage.rate_rps = 100;
  stage.arrivals = ArrivalKind::kConstant;
  stage.requests = 8;
  LoadPlan plan = PlanFor(server.port(), stage);
  plan.cap = 1;
  plan.timeout = std::chrono::seconds(5);
  plan.window = milliseconds(10);
  RunRecord record;
  const Counts& counts = RunAll(plan, &record);
  EXPECT_EQ(counts.ok, 8u);
  EXPECT_GE(record.stages[0].held_back, 1u);
  // The second one was meant for 10 ms and could only be sent after 100 ms.
  EXPECT_GE(counts.latency.Quantile(0.75), 50'000'000);
  EXPECT_GE(record.tally.timeline().size(), 8u);
}

TEST(HttpDriverTest, AnInterruptAccountsForWhatIsInFlight) {
  std::atomic<int> came{0};
  ScriptedServer server([&](int) {
    ++came;
    return std::string("silence");
  });
  LoadPlan plan = PlanFor(server.port(), Requests(4, 1000));
  plan.timeout = std::chrono::seconds(60);
  std::atomic<bool> interrupted{false};
  std::thread user([&] {
    for (int i = 0; i < 20'000 && came < 4; ++i) std::this_thread::sleep_for(milliseconds(1));
    interrupted = true;
  });
  const Result<RunRecord> record = RunLoad(plan, interrupted, {});
  user.join();
  ASSERT_TRUE(record.ok());
  const Counts& counts = record->tally.counts(0, 0);
  EXPECT_EQ(counts.sent, 4u);
  EXPECT_EQ(counts.unanswered[static_cast<size_t>(NoAnswer::kInterrupted)], 4u);
  EXPECT_TRUE(record->interrupted);
}

TEST(HttpDriverTest, AServerThatIsNotThereIsAnErrorAtTheStart) {
  int port = 0;
  {
    port = ScriptedServer([](int) { return std::string(); }).port();
  }
  const std::atomic<bool> interrupted{false};
  EXPECT_EQ(RunLoad(PlanFor(port, Requests(1, 1)), interrupted, {}).status().code(),
            Code::kUnavailable);
}

TEST(ReportTest, ShowsErrorsUnansweredAndWarmUpApart) {
  ScriptedServer server([](int number) {
    return number <= 3 ? "HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\n\xff" : std::string(kOk);
  });
  LoadPlan plan = PlanFor(server.port(), Requests(1, 2));
  Stage measured = Requests(1, 4);
  measured.name = "measured";
  plan.stages[0].warm_up = true;
  plan.stages.push_back(measured);
  plan.models[0].objectives.whole = milliseconds(100);
  RunRecord record;
  RunAll(plan, &record);
  const nlohmann::json report = ReportJson(plan, record);
  EXPECT_EQ(report["warm_up"]["errors"], 2);
  EXPECT_EQ(report["total"]["sent"], 4);
  EXPECT_EQ(report["total"]["ok"], 3);
  EXPECT_EQ(report["total"]["errors_by_status"]["503"]["count"], 1);
  EXPECT_GT(report["total"]["goodput_per_s"], 0);
  EXPECT_EQ(report["objective_ms"], 100);
  EXPECT_EQ(report["models"]["m"]["ok"], 3);
  EXPECT_NO_THROW(static_cast<void>(report.dump())) << "error bodies may be any bytes";
  const std::string table = ReportTable(report);
  EXPECT_NE(table.find("error 503: 1"), std::string::npos) << table;
  EXPECT_NE(table.find("warm-up: of 2 requests 2 failed"), std::string::npos) << table;
}

TEST(ReportTest, EachModelIsHeldToItsOwnObjective) {
  ScriptedServer server([](int number) {
    if (number % 2 == 0) std::this_thread::sleep_for(milliseconds(30));
    return std::string(kOk);
  });
  // One connection and equal weights: every second answer takes 30 ms, whichever model it is of.
  LoadPlan plan = PlanFor(server.port(), Requests(1, 40));
  plan.models.push_back(plan.models[0]);
  plan.models.push_back(plan.models[0]);
  plan.models[0].objectives.whole = std::chrono::seconds(10);
  plan.models[1].name = "strict";
  plan.models[1].objectives.whole = milliseconds(10);
  plan.models[2].name = "free";
  RunRecord record;
  RunAll(plan, &record);
  const nlohmann::json report = ReportJson(plan, record);
  EXPECT_EQ(report["models"]["m"]["within_objective"], 1.0);
  EXPECT_EQ(report["models"]["m"]["objective_ms"], 10'000);
  EXPECT_LT(report["models"]["strict"]["within_objective"], 1.0);
  EXPECT_EQ(report["models"]["strict"]["objective_ms"], 10);
  EXPECT_FALSE(report["models"]["free"].contains("within_objective"));
  EXPECT_FALSE(report["total"].contains("goodput_per_s")) << "a model without one has no share";
  EXPECT_FALSE(report.contains("objective_ms"));
}

TEST(UrlTest, ReadsWhatPeopleWriteAndRefusesTheRest) {
  EXPECT_EQ(ParseUrl("localhost", "8000")->Authority(), "localhost:8000");
  EXPECT_EQ(ParseUrl("http://[::1]:9/a?b", "8000")->Authority(), "[::1]:9");
  EXPECT_EQ(ParseUrl("http://[::1]:9/a?b", "8000")->path, "/a?b");
  EXPECT_EQ(ParseUrl("grpc://h:1", "8001")->scheme, "grpc");
  EXPECT_TRUE(ParseUrl("https://h", "8000")->tls());
  EXPECT_TRUE(ParseUrl("grpcs://h:1", "8001")->tls());
  EXPECT_FALSE(ParseUrl("h", "8000")->tls());
  for (const char* text : {"", "https://", "ftp://x", "x:0", "x:99999", "x:", "[::1", "http://:80"})
    EXPECT_FALSE(ParseUrl(text, "8000").ok()) << text;
}

// Over TLS, against the server of net/: kept connections, answers of many records, and those that are opened while the load runs.
class TlsServer {
 public:
  TlsServer() : loop_(IoLoop::Create("tls").value()) {
    loop_->Start();
    HttpServerOptions options;
    options.tls = TlsServerContext::Load(pair.files()).value();
    server_ = HttpServer::Listen(options, &handler_, {loop_.get()}).value();
  }
  LoadPlan Plan(Stage stage, bool trusted = true) const {
    LoadPlan plan = PlanFor(server_->port(), std::move(stage));
    plan.url.scheme = "https";
    plan.url.ca_file = trusted ? pair.files().certificate : "";
    plan.tls = *MakeTlsClientContext(plan.url.ca_file);
    plan.timeout = std::chrono::seconds(10);
    return plan;
  }
  HttpServerStats stats() const { return server_->stats(); }

  const TlsTestPair pair;

 private:
  class Answers final : public HttpHandler {
   public:
    void Handle(HttpExchange& exchange) override {
      HttpResponse response;
      response.body.assign(100'000, 'x');
      if (++count_ % 10 == 0) response.headers = "Connection: close\r\n";
      exchange.Respond(std::move(response));
    }
    int count_ = 0;
  };
  Answers handler_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST(HttpDriverTest, SpeaksTls) {
  TlsServer server;
  RunRecord record;
  LoadPlan plan = server.Plan(Requests(4, 200));
  plan.models[0].requests[0].bytes = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const Counts& counts = RunAll(plan, &record);
  EXPECT_EQ(counts.ok, 200u);
  EXPECT_EQ(server.stats().lost_handshakes, 0u);
  EXPECT_GT(server.stats().accepted, 4u);  // each tenth answer ended its connection
}

TEST(HttpDriverTest, AServerThatIsNotTrustedGetsNoLoad) {
  TlsServer server;
  const std::atomic<bool> interrupted{false};
  const Result<RunRecord> run = RunLoad(server.Plan(Requests(1, 1), false), interrupted, {});
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.status().code(), Code::kUnavailable);
  EXPECT_NE(run.status().message().find("certificate verify failed"), std::string::npos);
  EXPECT_EQ(server.stats().requests, 0u);
}

// A chunked answer of two tokens and a usage of three.
std::string Chunked(const std::vector<std::string>& pieces) {
  std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& piece : pieces) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    text += size + piece + "\r\n";
  }
  return text + "0\r\n\r\n";
}

TEST(HttpDriverTest, TokensOfStreamsAreCounted) {
  const std::string token = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
  const std::string usage =
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\n\n";
  ScriptedServer server([&](int number) -> std::string {
    switch (number % 4) {
      case 1:
        return Chunked({token, token.substr(0, 9), token.substr(9) + usage, "data: [DONE]\n\n"});
      case 2: return Chunked({token, "data: {\"error\":{\"message\":\"died\"}}\n\n"});
      case 3: return Chunked({token});  // ends without its end
      default: return "HTTP/1.1 503 Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
    }
  });
  LoadPlan plan = PlanFor(server.port(), Requests(1, 40));
  plan.streamed = true;
  plan.models[0].objectives.first_token = std::chrono::seconds(5);
  RunRecord record;
  const Counts& counts = RunAll(plan, &record);
  EXPECT_EQ(counts.ok, 10u);
  EXPECT_EQ(counts.good, 10u);
  EXPECT_EQ(counts.errors.at("503").count, 10u);
  EXPECT_EQ(counts.errors.at("stream").count, 20u);
  EXPECT_NE(counts.errors.at("stream").first_message.find("died"), std::string::npos);
  EXPECT_EQ(counts.tokens.prompt, 50u);
  EXPECT_EQ(counts.tokens.output, 30u);
  EXPECT_EQ(counts.tokens.first.count(), 10u);
  EXPECT_EQ(counts.tokens.gaps.count(), 10u);
  // Those of answers that failed came as well.
  EXPECT_EQ(counts.tokens.arrived, 30u + 20u);
  const nlohmann::json report = ReportJson(plan, record);
  EXPECT_EQ(report["total"]["tokens"]["output"], 30);
  EXPECT_EQ(report["first_token_objective_ms"], 5000.0);
  EXPECT_NE(ReportTable(report).find("tokens/s"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel::loadgen
