#include "loadgen/http_response.h"

#include <algorithm>
#include <charconv>

namespace evenkeel::loadgen {
namespace {

constexpr size_t kMaxHead = 64 << 10;
constexpr size_t kMaxErrorBody = 64 << 10;
constexpr int64_t kMaxLength = 1ll << 40;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool EqualsLower(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() && std::equal(text.begin(), text.end(), lower.begin(),
                                                   [](char a, char b) { return Lower(a) == b; });
}

bool EndsWithToken(std::string_view value, std::string_view lower) {
  return value.size() >= lower.size() &&
         EqualsLower(value.substr(value.size() - lower.size()), lower);
}

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r'))
    s.remove_suffix(1);
  return s;
}

}  // namespace

int64_t ServerTimingNs(std::string_view value, std::string_view metric) {
  while (!value.empty()) {
    const size_t comma = std::min(value.find(','), value.size());
    std::string_view entry = Trim(value.substr(0, comma));
    value.remove_prefix(std::min(comma + 1, value.size()));
    const size_t semicolon = entry.find(';');
    if (semicolon == std::string_view::npos || Trim(entry.substr(0, semicolon)) != metric) continue;
    const size_t dur = entry.find("dur=", semicolon);
    if (dur == std::string_view::npos) continue;
    entry.remove_prefix(dur + 4);
    double ms = 0;
    const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), ms);
    if (error == std::errc() && ms >= 0 && ms < 1e9) return static_cast<int64_t>(ms * 1e6);
  }
  return -1;
}

HttpResponseReader::Progress HttpResponseReader::Broken() {
  state_ = State::kBroken;
  return Progress::kMalformed;
}

void HttpResponseReader::Reset() {
  state_ = State::kHead;
  head_.clear();
  status_ = 0;
  close_ = chunked_ = false;
  length_ = -1;
  left_ = 0;
  compute_ns_ = -1;
  json_length_ = -1;
  body_.clear();
}

void HttpResponseReader::Keep(std::string_view data) {
  if (piece_ && status_ < 300) {
    piece_(data);
  } else if (keep_body_) {
    body_.append(data);
  } else if (status_ >= 300 && body_.size() < kMaxErrorBody) {
    body_.append(data.substr(0, kMaxErrorBody - body_.size()));
  }
}

bool HttpResponseReader::OnHeader(std::string_view name, std::string_view value) {
  if (EqualsLower(name, "content-length")) {
    int64_t n = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc() || end != value.data() + value.size() || n < 0 || n > kMaxLength)
      return false;
    if (length_ >= 0 && length_ != n) return false;
    length_ = n;
  } else if (EqualsLower(name, "transfer-encoding")) {
    chunked_ = EndsWithToken(value, "chunked");
  } else if (EqualsLower(name, "connection")) {
    if (EqualsLower(value, "close")) close_ = true;
    if (EqualsLower(value, "keep-alive")) close_ = false;
  } else if (EqualsLower(name, "inference-header-content-length")) {
    std::from_chars(value.data(), value.data() + value.size(), json_length_);
  } else if (EqualsLower(name, "server-timing")) {
    if (const int64_t ns = ServerTimingNs(value, "compute"); ns >= 0) compute_ns_ = ns;
  }
  return true;
}

// `head` runs up to and including the empty line.
HttpResponseReader::Progress HttpResponseReader::OnHead(std::string_view head) {
  // "HTTP/1.1 200 OK": version, space, three digits, space or end.
  if (head.size() < 13 || head.substr(0, 7) != "HTTP/1." || head[8] != ' ') return Broken();
  const char* digits = head.data() + 9;
  const auto [end, error] = std::from_chars(digits, digits + 3, status_);
  if (error != std::errc() || end != digits + 3 || status_ < 100) return Broken();
  close_ = head[7] == '0';
  size_t at = head.find('\n') + 1;
  while (at < head.size()) {
    const size_t eol = head.find('\n', at);
    const std::string_view line = Trim(head.substr(at, eol - at));
    at = eol + 1;
    if (line.empty()) break;
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos ||
        !OnHeader(line.substr(0, colon), Trim(line.substr(colon + 1))))
      return Broken();
  }
  if (status_ < 200) {  // an interim answer: the real one follows
    Reset();
    return Progress::kMore;
  }
  if (status_ == 204 || status_ == 304) length_ = 0, chunked_ = false;
  if (chunked_) {
    state_ = State::kChunkSize;
  } else if (length_ >= 0) {
    left_ = static_cast<uint64_t>(length_);
    state_ = left_ == 0 ? State::kDone : State::kLength;
  } else {
    close_ = true;
    state_ = State::kUntilClose;
  }
  return state_ == State::kDone ? Progress::kDone : Progress::kMore;
}

HttpResponseReader::Progress HttpResponseReader::OnChunkLine(std::string_view line) {
  if (state_ == State::kChunkEnd) {
    if (!line.empty()) return Broken();
    state_ = State::kChunkSize;
  } else if (state_ == State::kTrailer) {
    if (line.empty()) state_ = State::kDone;
  } else {
    uint64_t size = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
    if (error != std::errc() || size > static_cast<uint64_t>(kMaxLength)) return Broken();
    if (end != line.data() + line.size() && *end != ';' && *end != ' ') return Broken();
    left_ = size;
    state_ = size == 0 ? State::kTrailer : State::kChunkData;
  }
  return state_ == State::kDone ? Progress::kDone : Progress::kMore;
}

// Takes a line off `bytes`, joining pieces over calls; false when it is not complete yet.
bool HttpResponseReader::TakeLine(std::string_view* bytes, std::string_view* line) {
  const size_t eol = bytes->find('\n');
  if (eol == std::string_view::npos) {
    head_.append(*bytes);
    *bytes = {};
    return false;
  }
  if (head_.empty()) {
    *line = bytes->substr(0, eol);
  } else {
    line_ = head_.append(bytes->substr(0, eol));
    head_.clear();
    *line = line_;
  }
  bytes->remove_prefix(eol + 1);
  *line = Trim(*line);
  return true;
}

HttpResponseReader::Progress HttpResponseReader::Feed(std::string_view* bytes) {
  for (;;) {
    switch (state_) {
      case State::kDone: return Progress::kDone;
      case State::kBroken: return Progress::kMalformed;
      case State::kHead: {
        // The usual case is a whole head in one piece: no copy.
        if (head_.empty()) {
          if (const size_t end = bytes->find("\r\n\r\n");
              end != std::string_view::npos && end < kMaxHead) {
            const std::string_view head = bytes->substr(0, end + 4);
            bytes->remove_prefix(end + 4);
            if (OnHead(head) == Progress::kMalformed) return Progress::kMalformed;
            break;
          }
        }
        if (bytes->empty()) return Progress::kMore;
        const size_t before = head_.size();
        head_.append(*bytes);
        const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
        if (end == std::string::npos) {
          *bytes = {};
          return head_.size() > kMaxHead ? Broken() : Progress::kMore;
        }
        bytes->remove_prefix(end + 4 - before);
        const std::string head = head_.substr(0, end + 4);
        head_.clear();
        if (head.size() > kMaxHead || OnHead(head) == Progress::kMalformed) return Broken();
        break;
      }
      case State::kLength:
      case State::kChunkData: {
        if (bytes->empty()) return Progress::kMore;
        const size_t n = std::min<size_t>(left_, bytes->size());
        Keep(bytes->substr(0, n));
        bytes->remove_prefix(n);
        left_ -= n;
        if (left_ > 0) return Progress::kMore;
        state_ = state_ == State::kLength ? State::kDone : State::kChunkEnd;
        break;
      }
      case State::kUntilClose:
        Keep(*bytes);
        *bytes = {};
        return Progress::kMore;
      case State::kChunkSize:
      case State::kChunkEnd:
      case State::kTrailer: {
        std::string_view line;
        if (!TakeLine(bytes, &line)) return head_.size() > kMaxHead ? Broken() : Progress::kMore;
        if (OnChunkLine(line) == Progress::kMalformed) return Progress::kMalformed;
        break;
      }
    }
  }
}

HttpResponseReader::Progress HttpResponseReader::Ended() {
  if (state_ == State::kUntilClose) {
    state_ = State::kDone;
    return Progress::kDone;
  }
  return started() ? Broken() : Progress::kMore;
}

}  // namespace evenkeel::loadgen
