#include "loadgen/http_response.h"

#include <gtest/gtest.h>

#include <vector>

namespace evenkeel::loadgen {
namespace {

using Progress = HttpResponseReader::Progress;

struct Parsed {
  Progress progress;
  int status;
  std::string body;
  bool close;
  size_t left;  // bytes not consumed
  bool operator==(const Parsed&) const = default;
};

// Feeds `text` in pieces of `piece` bytes.
Parsed Read(std::string_view text, size_t piece) {
  HttpResponseReader reader(/*keep_body=*/true);
  Progress progress = Progress::kMore;
  while (progress == Progress::kMore && !text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    const size_t before = bytes.size();
    progress = reader.Feed(&bytes);
    text.remove_prefix(before - bytes.size());
    EXPECT_TRUE(progress != Progress::kMore || bytes.empty());
  }
  if (progress == Progress::kMore) progress = reader.Ended();
  return {progress, reader.status(), reader.body(), reader.close(), text.size()};
}

TEST(HttpResponseTest, TheResultDoesNotDependOnHowBytesAreCut) {
  const std::string texts[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhelloHTTP/1.1",
      "HTTP/1.1 429 Too Many Requests\r\nconnection: CLOSE\r\ncontent-length:0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
      "chunked\r\n\r\n5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nrest",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.0 200 OK\r\n\r\nuntil the end",
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
      "HTTP/1.1 2x0 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  };
  for (const std::string& text : texts) {
    const Parsed whole = Read(text, text.size());
    for (size_t piece = 1; piece < text.size(); ++piece)
      EXPECT_EQ(Read(text, piece), whole) << text << " cut at " << piece;
  }
}

TEST(HttpResponseTest, ReadsBodiesOfEachKind) {
  EXPECT_EQ(Read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloX", 100),
            (Parsed{Progress::kDone, 200, "hello", false, 1}));
  EXPECT_EQ(Read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 100),
            (Parsed{Progress::kDone, 200, "ab", false, 0}));
  EXPECT_EQ(Read("HTTP/1.1 200 OK\r\n\r\nabc", 100),
            (Parsed{Progress::kDone, 200, "abc", true, 0}));
  EXPECT_EQ(Read("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 100),
            (Parsed{Progress::kDone, 304, "", false, 0}));
}

TEST(HttpResponseTest, RefusesWhatIsNotHttp) {
  for (const char* text :
       {"SSH-2.0-OpenSSH_9.2 hello there\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"}) {
    EXPECT_EQ(Read(text, 1000).progress, Progress::kMalformed) << text;
  }
  EXPECT_EQ(Read(std::string(100 << 10, 'x'), 1000).progress, Progress::kMalformed);
  EXPECT_EQ(Read("", 1).progress, Progress::kMore)
      << "a connection that ends between responses is no error";
}

TEST(HttpResponseTest, KeepsOnlyErrorBodiesUnlessAsked) {
  HttpResponseReader reader;
  std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  EXPECT_EQ(reader.Feed(&ok), Progress::kDone);
  EXPECT_EQ(reader.body(), "");
  reader.Reset();
  std::string_view bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
  EXPECT_EQ(reader.Feed(&bad), Progress::kDone);
  EXPECT_EQ(reader.body(), "no");
}

TEST(HttpResponseTest, ReadsComputeTimeFromServerTiming) {
  HttpResponseReader reader;
  std::string_view bytes =
      "HTTP/1.1 200 OK\r\nServer-Timing: queue;dur=0.1, "
      "compute;desc=\"x\";dur=2.5\r\nContent-Length: 0\r\n\r\n";
  EXPECT_EQ(reader.Feed(&bytes), Progress::kDone);
  EXPECT_EQ(reader.compute_ns(), 2'500'000);
  EXPECT_EQ(ServerTimingNs("queue;dur=1", "compute"), -1);
  EXPECT_EQ(ServerTimingNs("compute;dur=-3, compute", "compute"), -1);
}

}  // namespace
}  // namespace evenkeel::loadgen
