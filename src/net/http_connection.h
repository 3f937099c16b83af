// One HTTP connection: reads requests, keeps their order, writes answers. Internal to net/.
//
// Contract: closes itself through HttpLoop::Forget(). Input is read only while answers keep up
//   (HttpLimits).
// Thread-safety: single-owner (its loop).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/gzip.h"
#include "net/http_chunks.h"
#include "net/http_head.h"
#include "net/http_loop.h"
#include "net/io_loop.h"
#include "net/transport.h"

namespace evenkeel {

class HttpConnection final : public IoHandler {
 public:
  HttpConnection(HttpLoop* loop, Transport transport);
  ~HttpConnection() override;

  bool Start();  // false: the descriptor could not be watched
  void OnIo(uint32_t events) override;
  void ResumeReading();  // after its share of a turn was used up
  void ReadAtOnce();     // there may be input that raises no event
  // Answers the request being read (or the bytes that are none) after those before it, then ends the connection.
  void Refuse(const HttpError& error);
  // Unfolds a step of the body of the request that has arrived. True: there is more to unfold.
  bool UnfoldStep();
  void Flush();  // takes finished answers in order and sends
  void CheckTime(Time now);
  void CloseWhenIdle();  // drain
  void Close();

  bool touched = false;  // in HttpLoop's list for the next Settle()
  bool reading_later = false;

 private:
  enum class State : uint8_t { kHead, kBody, kChunks, kUnfold, kDrain };

  // Input.
  void ReadAndHandle();
  bool ReadSome();
  void HandleInput();
  bool ReadHead();
  bool StartBody();
  bool HoldBody(size_t bytes);
  bool TakeBody();
  bool TakeChunks();
  bool Dispatch();
  bool Complete();
  bool Paused() const;
  std::string_view Unread() const {
    return {block_ == nullptr ? nullptr : block_->data.get() + begin_, end_ - begin_};
  }
  void Consume(size_t n);
  void MakeRoom();
  void DropBlock();
  void OnPeerEnd();
  void CancelWork();

  // Output.
  static void ForgetHead(HttpHead* head);
  void Continue();  // says so, if it is due and its turn
  std::string& OpenSegment();
  void AppendText(std::string_view text);
  void AppendHead(const ServerExchange& call, bool keep, std::string_view framing);
  void AppendResponse(ServerExchange& call);
  void AppendStreamHead(ServerExchange& call);
  bool AppendStream(ServerExchange& call);
  void CountUnsent();
  void Beat(Time now);
  void Send();
  void Sent(size_t n);
  void WatchWritable(bool on);
  void AfterSend();
  void StartLinger();

  HttpLoop* const loop_;
  Transport transport_;
  bool closed_ = false;
  State state_ = State::kHead;
  bool readable_ = false;      // the socket may have more
  bool peer_ending_ = false;   // FIN announced; bytes may be before it
  bool peer_ended_ = false;    // FIN read
  bool last_request_ = false;  // no request is read after the one at the back
  bool ends_answer_ = false;   // only the connection's end ends the answer that went out last
  bool linger_ = false;        // the client may still be sending: read on before closing
  bool lingering_ = false;
  bool watching_writable_ = false;
  int budget_ = 0;  // reads left in this turn

  ReadBlock* block_ = nullptr;
  size_t begin_ = 0, end_ = 0;  // unread bytes in block_
  size_t head_scanned_ = 0;
  ServerExchange* incoming_ = nullptr;  // its head is read, its body not yet
  // incoming_'s client waits for 100 Continue, which comes after the answers before it.
  bool continue_due_ = false;
  size_t body_have_ = 0;  // bytes of the body that have arrived
  std::optional<ChunkedBody> chunks_;
  std::unique_ptr<Unfolder> unfolder_;  // of incoming_'s body, in State::kUnfold
  std::deque<ServerExchange*> queue_;   // in the order of requests; the front is answered first

  std::vector<std::string> out_;
  size_t out_sent_ = 0;        // of out_.front()
  size_t out_bytes_ = 0;       // not yet sent
  size_t ahead_bytes_ = 0;     // of these, what lies before the stream at the front
  size_t answered_bytes_ = 0;  // of answers given since the last Flush()
  bool out_open_ = false;      // out_.back() may be appended to

  Time phase_start_{};  // of the idle time, the request that is arriving or the lingering
  bool phase_is_idle_ = true;
  Time write_progress_{};
};

}  // namespace evenkeel
