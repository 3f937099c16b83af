// One loop's share of an HTTP server: its connections, buffers and answers on the way home.
// Internal to net/.
//
// Contract: answers given on the loop's thread are settled when the connection's input has been
//   handled; those from other threads wake the loop once a burst. Calls and buffers are recycled
//   here.
// Thread-safety: TakeHome(), TakePiece() and stats from any thread; the rest on the loop's thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "net/gzip.h"
#include "net/http_handshake.h"
#include "net/http_message.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/transport.h"

namespace evenkeel {

class HttpConnection;
class HttpLoop;

// Received bytes. Requests being answered keep the block that holds their head. Loop's thread only.
struct ReadBlock {
  explicit ReadBlock(size_t n) : size(n), data(std::make_unique_for_overwrite<char[]>(n)) {}
  const size_t size;
  int refs = 0;
  const std::unique_ptr<char[]> data;
};

// A request on a connection.
class ServerExchange final : public HttpExchange {
 public:
  explicit ServerExchange(HttpLoop* loop) : loop_(loop) {}
  void Respond(HttpResponse response) override;
  void StartStream(HttpResponse head, HttpHeartbeat beat) override;
  bool Send(std::string_view piece) override;
  using HttpExchange::EndStream;
  void EndStream(std::string trailers) override;
  bool gone() const override { return gone_.load(std::memory_order_relaxed); }

  // The request's side, filled by the connection.
  HttpHead& mutable_head() { return head_; }
  void set_body(std::span<const std::byte> body) { body_ = body; }
  void set_received(Time at) { received_ = at; }
  // Tells the handler's work that the client left, unless it answered already.
  void Cancel();
  bool responded() const { return responded_.load(std::memory_order_acquire); }
  void Reset();

  HttpConnection* connection = nullptr;  // null once the connection has closed
  ReadBlock* block = nullptr;            // holds the head, and the body if it fitted
  std::unique_ptr<std::byte[]> large_body;
  std::string chunked_body;
  GrowingBytes unfolded_body;  // of a compressed one
  size_t held_bytes = 0;       // of the bodies above, counted in HttpShared
  HttpResponse response;
  bool home = false;  // the response, or the end of the stream, has reached the loop

  // A streamed answer, on the loop's side.
  bool streaming = false;  // it has reached the loop; its head is `response`
  bool begun = false;      // the head is written
  std::string trailers;    // of the end
  std::string pieces;      // not yet written
  HttpHeartbeat heartbeat;
  Time last_piece{};  // when one was written
  std::atomic<size_t> unsent_bytes{
      0};  // left the inbox, not the socket; read where pieces come from

  // The same on its way to the loop; guarded by HttpLoop's mutex.
  struct Inbox {
    std::string pieces;
    bool listed = false;  // in HttpLoop's list
    bool ended = false;
    bool stuck = false;  // more came than may wait
  } inbox;

 private:
  HttpLoop* const loop_;
  std::atomic<bool> responded_{false};
  std::atomic<bool> gone_{false};  // read by handlers on any thread
};

// Counters of a whole server, shared by its loops.
struct HttpShared {
  HttpServerOptions options;
  HttpHandler* handler = nullptr;
  bool check_host = false;
  std::atomic<bool> draining{false};
  std::atomic<int> open{0};
  std::atomic<size_t> held_bytes{0};
  std::atomic<uint64_t> accepted{0}, refused{0}, requests{0}, cancelled{0}, lost_handshakes{0};
};

class HttpLoop : public std::enable_shared_from_this<HttpLoop> {
 public:
  HttpLoop(IoLoop* io, std::shared_ptr<HttpShared> shared);
  ~HttpLoop();

  // Any thread.
  void Install();      // once, before everything else
  void Adopt(int fd);  // a connected socket, owned from here on
  void TakeHome(ServerExchange* call);
  // A piece of a stream, or its end. False: too much waits already, and the piece was dropped.
  bool TakePiece(ServerExchange* call, std::string_view piece, bool end);
  // Closes all connections, then returns when no call is out any more. Not on the loop's thread.
  void CloseAllAndWait();
  void Drain();

  // Loop's thread.
  IoLoop& io() { return *io_; }
  HttpShared& shared() { return *shared_; }
  const HttpLimits& limits() const { return shared_->options.limits; }
  ServerExchange* NewCall();
  void CountOut() { ++out_; }  // a call goes to the handler
  void Recycle(ServerExchange* call);
  // Counts `bytes` more for the body of `call` until it is recycled. False: over the limit.
  bool Hold(ServerExchange* call, size_t bytes);
  ReadBlock* NewBlock();
  void Unref(ReadBlock* block);
  void Settle();  // answers that came home: written, connections gone: freed
  void Touch(HttpConnection* connection);  // flush it in the next Settle()
  void ReadLater(HttpConnection* connection);
  // Unfolds the connection's body, now if little has been unfolded in this turn and none waits, else
  // in later turns; then resumes its reading.
  void Unfold(HttpConnection* connection);
  void Forget(HttpConnection* connection);  // it has closed; freed at the end of the turn
  void Secured(Transport transport);        // a handshake has ended well
  void RefusePlain(Transport transport);    // a client speaks plain HTTP where TLS is spoken
  void HandshakeLost();       // failed, too slow or not wanted any more; its socket is closed
  const std::string& date();  // "Date: ...\r\n"

 private:
  void Open(int fd);
  HttpConnection* Begin(Transport transport);
  void CloseAll();
  void EndOfTurn();
  bool UnfoldStep(HttpConnection* connection);
  void UnfoldSome();
  void UnfoldLater();
  void CollectInbox();
  bool CollectPieces();
  void Tick();
  void ArmTick();

  IoLoop* const io_;
  const std::shared_ptr<HttpShared> shared_;
  const Duration tick_;
  std::unique_ptr<Alarm> alarm_;
  bool tick_armed_ = false;
  bool settling_ = false;
  std::unordered_set<HttpConnection*> connections_;
  std::vector<HttpConnection*> touched_;
  std::vector<HttpConnection*> read_later_;
  std::deque<HttpConnection*> unfolding_;  // take steps in turn
  bool unfold_posted_ = false;
  Duration unfolded_for_{};  // in this turn
  std::vector<HttpConnection*> dead_;
  HttpHandshakes handshakes_{this};
  std::vector<ServerExchange*> home_;
  std::vector<ServerExchange*> free_calls_;
  std::vector<ReadBlock*> free_blocks_;
  std::string date_;
  int64_t date_second_ = 0;

  int out_ = 0;  // calls whose answer has not come home
  bool closing_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable closed_changed_;
  std::vector<ServerExchange*> inbox_;
  std::vector<ServerExchange*> streams_;  // something is in their inboxes
  bool closed_ = false;
};

}  // namespace evenkeel
