#include "cluster/link/client_hello.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "net/openssl.h"

namespace evenkeel::link {
namespace {

using Bytes = std::vector<uint8_t>;

// What OpenSSL says first, speaking `least` to `most`.
Bytes Hello(int least, int most) {
  const openssl::Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), least);
  SSL_CTX_set_max_proto_version(context.get(), most);
  SSL* const session = SSL_new(context.get());
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(session, BIO_new(BIO_s_mem()), out);
  SSL_connect(session);
  const std::string text = openssl::TextOf(out);
  SSL_free(session);
  return {text.begin(), text.end()};
}

// The same message in records of `size` bytes.
Bytes Cut(const Bytes& hello, size_t size) {
  Bytes cut;
  for (size_t at = 5; at < hello.size(); at += size) {
    const size_t n = std::min(size, hello.size() - at);
    cut.insert(cut.end(), {22, 3, 1, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
    cut.insert(cut.end(), hello.begin() + static_cast<std::ptrdiff_t>(at),
               hello.begin() + static_cast<std::ptrdiff_t>(at + n));
  }
  return cut;
}

TEST(ClientHelloTest, TellsThoseThatOffer13FromThoseThatDoNot) {
  EXPECT_EQ(LookAtHello(Hello(TLS1_3_VERSION, TLS1_3_VERSION)), HelloVerdict::kTls13);
  EXPECT_EQ(LookAtHello(Hello(TLS1_2_VERSION, TLS1_3_VERSION)), HelloVerdict::kTls13);
  EXPECT_EQ(LookAtHello(Hello(TLS1_2_VERSION, TLS1_2_VERSION)), HelloVerdict::kRefused);
}

TEST(ClientHelloTest, ABeginningIsUndecidedAndEveryCutIsTheSame) {
  for (const int most : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Bytes hello = Hello(TLS1_2_VERSION, most);
    const HelloVerdict whole = LookAtHello(hello);
    for (size_t n = 0; n < hello.size(); ++n)
      ASSERT_EQ(LookAtHello(std::span(hello).first(n)), HelloVerdict::kMore) << n;
    for (const size_t size : {1, 2, 3, 50, 100}) {
      const Bytes cut = Cut(hello, size);
      EXPECT_EQ(LookAtHello(cut), whole) << size;
      for (size_t n = 0; n < cut.size(); n += 3)
        ASSERT_EQ(LookAtHello(std::span(cut).first(n)), HelloVerdict::kMore) << n;
    }
  }
}

TEST(ClientHelloTest, WhatFollowsInTheSameRecordIsRefused) {
  Bytes hello = Hello(TLS1_3_VERSION, TLS1_3_VERSION);
  const size_t size = hello.size() - 5 + 1;
  hello[3] = static_cast<uint8_t>(size >> 8);
  hello[4] = static_cast<uint8_t>(size);
  hello.push_back(20);
  EXPECT_EQ(LookAtHello(hello), HelloVerdict::kRefused);
}

TEST(ClientHelloTest, OtherBytesAreRefusedAtTheFirstThatTells) {
  const auto verdict = [](std::string_view text) {
    return LookAtHello({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  EXPECT_EQ(verdict("G"), HelloVerdict::kRefused);
  EXPECT_EQ(verdict("PRI * HTTP/2.0"), HelloVerdict::kRefused);
  EXPECT_EQ(verdict(std::string("\x16\x02", 2)), HelloVerdict::kRefused);
  EXPECT_EQ(verdict(std::string("\x16\x03\x01\x00\x00", 5)), HelloVerdict::kRefused);
  EXPECT_EQ(verdict(std::string("\x16\x03\x01\x40\x01", 5)), HelloVerdict::kRefused);
  EXPECT_EQ(verdict(std::string("\x16\x03\x01\x00\x05\x02", 6)), HelloVerdict::kRefused);
  EXPECT_EQ(verdict(std::string("\x16\x03\x01\x01\x00\x01\x00\x20\x00", 9)),
            HelloVerdict::kRefused);  // 8 KiB and four
  EXPECT_EQ(verdict(""), HelloVerdict::kMore);
}

TEST(ClientHelloTest, LengthsThatDoNotFitAreRefused) {
  const Bytes good = Hello(TLS1_3_VERSION, TLS1_3_VERSION);
  // Session id, ciphers, compression, extensions: the first three lie at known places.
  const size_t session = 5 + 4 + 2 + 32;
  const size_t ciphers = session + 1 + good[session];
  for (const size_t at : {session, ciphers, ciphers + 1}) {
    Bytes bad = good;
    bad[at] = 0xff;
    EXPECT_EQ(LookAtHello(bad), HelloVerdict::kRefused) << at;
  }
}

}  // namespace
}  // namespace evenkeel::link
