#include "net/http_loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "core/check.h"
#include "net/http_connection.h"

namespace evenkeel {
namespace {

constexpr size_t kReadAhead = 4096;  // a block holds the largest head and this much more
// Of a turn, for all connections together: what it adds to the others' waiting.
constexpr Duration kUnfoldTime = std::chrono::microseconds(500);
constexpr size_t kMaxFreeCalls = 1024;
constexpr size_t kMaxFreeBlocks = 256;

Duration TickOf(const HttpLimits& l) {
  const Duration shortest = std::min({l.request_time, l.idle_time, l.write_time, l.linger_time});
  return std::clamp<Duration>(shortest / 4, std::chrono::milliseconds(5), std::chrono::seconds(1));
}

}  // namespace

void ServerExchange::Respond(HttpResponse r) {
  EK_CHECK(!responded_.load(std::memory_order_relaxed));
  response = std::move(r);
  responded_.store(true, std::memory_order_release);
  loop_->TakeHome(this);
}

void ServerExchange::StartStream(HttpResponse head, HttpHeartbeat beat) {
  EK_CHECK(!responded_.load(std::memory_order_relaxed));
  const std::string first = std::exchange(head.body, {});
  response = std::move(head);
  heartbeat = std::move(beat);
  loop_->TakePiece(this, first, false);
}

bool ServerExchange::Send(std::string_view piece) {
  return loop_->TakePiece(this, piece, false) && !gone();
}

void ServerExchange::EndStream(std::string fields) {
  EK_CHECK(!responded_.load(std::memory_order_relaxed));
  trailers = std::move(fields);
  responded_.store(true, std::memory_order_release);
  loop_->TakePiece(this, {}, true);
}

void ServerExchange::Cancel() {
  if (responded()) return;
  gone_.store(true, std::memory_order_relaxed);
  if (work_ != nullptr) work_->OnCancel();
}

void ServerExchange::Reset() {
  work_.reset();
  body_ = {};
  connection = nullptr;
  large_body.reset();
  chunked_body = {};
  unfolded_body.Reset();
  response = {};
  home = streaming = begun = false;
  trailers = {};
  pieces = {};  // with its memory: there may be many of these
  heartbeat = {};
  unsent_bytes.store(0, std::memory_order_relaxed);
  inbox = {};
  responded_.store(false, std::memory_order_relaxed);
  gone_.store(false, std::memory_order_relaxed);
}

HttpLoop::HttpLoop(IoLoop* io, std::shared_ptr<HttpShared> shared)
    : io_(io), shared_(std::move(shared)), tick_(TickOf(shared_->options.limits)) {}

HttpLoop::~HttpLoop() {
  for (HttpConnection* connection : dead_) delete connection;
  for (ServerExchange* call : free_calls_) delete call;
  for (ReadBlock* block : free_blocks_) delete block;
}

void HttpLoop::Install() {
  const std::weak_ptr<HttpLoop> weak = weak_from_this();
  alarm_ = io_->MakeAlarm([weak] {
    if (const auto self = weak.lock()) self->Tick();
  });
  const auto hook = [weak] {
    if (const auto self = weak.lock()) self->EndOfTurn();
  };
  if (io_->running()) {
    io_->Post([this, self = shared_from_this(), hook] { io_->AtTurnEnd(hook); });
  } else {
    io_->AtTurnEnd(hook);
  }
}

void HttpLoop::Adopt(int fd) {
  struct Socket {
    explicit Socket(int descriptor) : fd(descriptor) {}
    ~Socket() {
      if (fd >= 0) ::close(fd);
    }
    int fd;
  };
  auto socket = std::make_shared<Socket>(fd);
  io_->Post([self = shared_from_this(), socket] { self->Open(std::exchange(socket->fd, -1)); });
}

void HttpLoop::Open(int fd) {
  if (shared_->options.tls == nullptr) {
    Begin(Transport(fd));
    return;
  }
  handshakes_.Open(fd);
  if (closing_) handshakes_.CloseAll();
  ArmTick();
}

// Null: it has closed already.
HttpConnection* HttpLoop::Begin(Transport transport) {
  auto* connection = new HttpConnection(this, std::move(transport));
  connections_.insert(connection);
  if (closing_ || !connection->Start()) {
    connection->Close();
    return nullptr;
  }
  ArmTick();
  return connection;
}

void HttpLoop::Secured(Transport transport) {
  HttpConnection* const connection = Begin(std::move(transport));
  // What came together with the handshake's last words raises no event.
  if (connection != nullptr) connection->ReadAtOnce();
}

void HttpLoop::RefusePlain(Transport transport) {
  shared_->lost_handshakes.fetch_add(1, std::memory_order_relaxed);
  HttpConnection* const connection = Begin(std::move(transport));
  if (connection != nullptr)
    connection->Refuse({400, "plain HTTP was sent to a port that speaks TLS: expected https://"});
}

void HttpLoop::HandshakeLost() {
  shared_->lost_handshakes.fetch_add(1, std::memory_order_relaxed);
  shared_->open.fetch_sub(1, std::memory_order_relaxed);
}

void HttpLoop::TakeHome(ServerExchange* call) {
  if (io_->InLoopThread()) {
    home_.push_back(call);
    return;
  }
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = inbox_.empty();
    inbox_.push_back(call);
  }
  // Any task wakes the loop; the inbox is looked at when the turn ends. The rest of the burst rides
  // along.
  if (first) io_->Post([] {});
}

bool HttpLoop::TakePiece(ServerExchange* call, std::string_view piece, bool end) {
  IoLoop* const io = io_;  // after a stream's end this object may go
  bool fits = true;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    ServerExchange::Inbox& in = call->inbox;
    const size_t waiting = call->unsent_bytes.load(std::memory_order_relaxed) + in.pieces.size();
    fits = !in.stuck && waiting + piece.size() <= limits().stream_bytes;
    if (fits) in.pieces.append(piece);
    in.stuck |= !fits;
    in.ended |= end;
    if (!std::exchange(in.listed, true)) {
      first = streams_.empty();
      streams_.push_back(call);
    }
  }
  // On the loop's own thread the end of the turn is still to come.
  if (first && !io->InLoopThread()) io->Post([] {});
  return fits;
}

void HttpLoop::CollectInbox() {
  const std::lock_guard lock(mutex_);
  home_.insert(home_.end(), inbox_.begin(), inbox_.end());
  inbox_.clear();
}

// False: there were none.
bool HttpLoop::CollectPieces() {
  struct Taken {
    ServerExchange* call;
    bool ended, stuck;
  };
  std::vector<Taken> taken;
  {
    const std::lock_guard lock(mutex_);
    if (streams_.empty()) return false;
    taken.reserve(streams_.size());
    for (ServerExchange* call : streams_) {
      ServerExchange::Inbox& in = call->inbox;
      taken.push_back({call, in.ended, in.stuck});
      call->unsent_bytes.fetch_add(in.pieces.size(), std::memory_order_relaxed);
      if (call->pieces.empty()) {
        call->pieces.swap(in.pieces);
      } else {
        call->pieces.append(in.pieces);
        in.pieces.clear();
      }
      in.listed = false;
    }
    streams_.clear();
  }
  for (const Taken& each : taken) {
    ServerExchange* const call = each.call;
    call->streaming = true;
    if (each.stuck && call->connection != nullptr) call->connection->Close();
    if (each.ended) {
      call->home = true;
      --out_;
    }
    if (call->connection != nullptr) {
      Touch(call->connection);
    } else if (call->home) {
      Recycle(call);
    } else {
      call->pieces.clear();
    }
  }
  return true;
}

void HttpLoop::EndOfTurn() {
  CollectInbox();
  Settle();
  // Sending may find a client gone, whose work ends its stream there and then.
  while (CollectPieces()) Settle();
  unfolded_for_ = Duration::zero();
  handshakes_.EndOfTurn();
  for (HttpConnection* connection : dead_) delete connection;
  dead_.clear();
  if (closing_ && out_ == 0 && connections_.empty() && handshakes_.empty()) {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    closed_changed_.notify_all();
  }
}

void HttpLoop::Settle() {
  if (settling_) return;
  settling_ = true;
  std::vector<ServerExchange*> home;
  std::vector<HttpConnection*> touched;
  while (!home_.empty() || !touched_.empty()) {
    home.swap(home_);
    for (ServerExchange* call : home) {
      call->home = true;
      --out_;
      if (call->connection != nullptr) {
        Touch(call->connection);
      } else {
        Recycle(call);
      }
    }
    home.clear();
    touched.swap(touched_);
    for (HttpConnection* connection : touched) {
      connection->touched = false;
      connection->Flush();
    }
    touched.clear();
  }
  settling_ = false;
}

void HttpLoop::Touch(HttpConnection* connection) {
  if (connection->touched) return;
  connection->touched = true;
  touched_.push_back(connection);
}

void HttpLoop::ReadLater(HttpConnection* connection) {
  if (connection->reading_later) return;
  connection->reading_later = true;
  read_later_.push_back(connection);
  if (read_later_.size() > 1) return;
  io_->Post([self = shared_from_this()] {
    std::vector<HttpConnection*> list;
    list.swap(self->read_later_);
    for (HttpConnection* each : list) {
      each->reading_later = false;
      each->ResumeReading();
    }
    self->Settle();
  });
}

void HttpLoop::Unfold(HttpConnection* connection) {
  if (unfolding_.empty()) {
    while (unfolded_for_ < kUnfoldTime) {
      if (!UnfoldStep(connection)) return;
    }
  }
  unfolding_.push_back(connection);
  UnfoldLater();
}

bool HttpLoop::UnfoldStep(HttpConnection* connection) {
  const Time begin = SteadyClock::Instance().Now();
  const bool more = connection->UnfoldStep();
  unfolded_for_ += SteadyClock::Instance().Now() - begin;
  return more;
}

void HttpLoop::UnfoldLater() {
  if (std::exchange(unfold_posted_, true)) return;
  io_->Post([self = shared_from_this()] {
    self->unfold_posted_ = false;
    self->UnfoldSome();
    self->Settle();
  });
}

void HttpLoop::UnfoldSome() {
  while (!unfolding_.empty() && unfolded_for_ < kUnfoldTime) {
    HttpConnection* const connection = unfolding_.front();
    unfolding_.pop_front();
    if (UnfoldStep(connection)) {
      unfolding_.push_back(connection);
    } else {
      connection->ResumeReading();
    }
  }
  if (!unfolding_.empty()) UnfoldLater();
}

void HttpLoop::Forget(HttpConnection* connection) {
  connections_.erase(connection);
  if (connection->reading_later) std::erase(read_later_, connection);
  std::erase(unfolding_, connection);
  dead_.push_back(connection);
  shared_->open.fetch_sub(1, std::memory_order_relaxed);
}

ServerExchange* HttpLoop::NewCall() {
  if (free_calls_.empty()) return new ServerExchange(this);
  ServerExchange* call = free_calls_.back();
  free_calls_.pop_back();
  return call;
}

bool HttpLoop::Hold(ServerExchange* call, size_t bytes) {
  call->held_bytes += bytes;
  const size_t before = shared_->held_bytes.fetch_add(bytes, std::memory_order_relaxed);
  return before + bytes <= limits().all_bodies_bytes;
}

void HttpLoop::Recycle(ServerExchange* call) {
  shared_->held_bytes.fetch_sub(std::exchange(call->held_bytes, 0), std::memory_order_relaxed);
  if (call->block != nullptr) Unref(std::exchange(call->block, nullptr));
  call->Reset();
  if (free_calls_.size() < kMaxFreeCalls) {
    free_calls_.push_back(call);
  } else {
    delete call;
  }
}

ReadBlock* HttpLoop::NewBlock() {
  ReadBlock* block = nullptr;
  if (free_blocks_.empty()) {
    block = new ReadBlock(limits().head_bytes + kReadAhead);
  } else {
    block = free_blocks_.back();
    free_blocks_.pop_back();
  }
  block->refs = 1;
  return block;
}

void HttpLoop::Unref(ReadBlock* block) {
  if (--block->refs > 0) return;
  if (free_blocks_.size() < kMaxFreeBlocks) {
    free_blocks_.push_back(block);
  } else {
    delete block;
  }
}

void HttpLoop::ArmTick() {
  if (tick_armed_ || (connections_.empty() && handshakes_.empty())) return;
  tick_armed_ = true;
  alarm_->Set(SteadyClock::Instance().Now() + tick_);
}

// Timeouts are coarse on purpose: one pass over the connections instead of a timer each.
void HttpLoop::Tick() {
  tick_armed_ = false;
  const Time now = SteadyClock::Instance().Now();
  const std::vector<HttpConnection*> all(connections_.begin(), connections_.end());
  for (HttpConnection* connection : all) connection->CheckTime(now);
  handshakes_.CheckTime(now);
  Settle();
  ArmTick();
}

const std::string& HttpLoop::date() {
  const time_t now = ::time(nullptr);
  if (now != date_second_) {
    date_second_ = now;
    tm utc{};
    ::gmtime_r(&now, &utc);
    char text[64];
    date_.assign(text,
                 std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc));
  }
  return date_;
}

void HttpLoop::Drain() {
  io_->Post([self = shared_from_this()] {
    const std::vector<HttpConnection*> all(self->connections_.begin(), self->connections_.end());
    for (HttpConnection* connection : all) connection->CloseWhenIdle();
    self->handshakes_.CloseAll();
    self->Settle();
  });
}

void HttpLoop::CloseAll() {
  closing_ = true;
  const std::vector<HttpConnection*> all(connections_.begin(), connections_.end());
  for (HttpConnection* connection : all) connection->Close();
  handshakes_.CloseAll();
}

void HttpLoop::CloseAllAndWait() {
  if (!io_->running()) {
    CloseAll();
    return;
  }
  io_->Post([self = shared_from_this()] { self->CloseAll(); });
  std::unique_lock lock(mutex_);
  closed_changed_.wait(lock, [this] { return closed_; });
}

}  // namespace evenkeel
