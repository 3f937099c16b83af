#include "access/api_key.h"

#include <gtest/gtest.h>

#include <set>

namespace evenkeel {
namespace {

std::string Hex(const KeyDigest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

TEST(ApiKeyTest, TheTextIsTheEntropyInBase32) {
  KeyEntropy entropy{};
  EXPECT_EQ(KeyFrom(entropy), "ek_aaaaaaaa_" + std::string(52, 'a'));
  entropy.fill(0xff);
  // 51 letters of five bits, and one bit in the last.
  EXPECT_EQ(KeyFrom(entropy), "ek_77777777_" + std::string(51, '7') + "q");
  entropy = {};
  entropy[4] = 1;     // the last bit of the id
  entropy[5] = 0x80;  // the first of the secret
  EXPECT_EQ(KeyFrom(entropy), "ek_aaaaaaab_q" + std::string(51, 'a'));
}

TEST(ApiKeyTest, NoTwoKeysAreAlike) {
  std::set<std::string> keys, ids;
  for (int i = 0; i < 1000; ++i) {
    const Result<KeyEntropy> entropy = NewKeyEntropy();
    ASSERT_TRUE(entropy.ok());
    const std::string key = KeyFrom(*entropy);
    EXPECT_EQ(key.size(), kKeySize);
    EXPECT_TRUE(IsKeyId(KeyIdOf(key))) << key;
    ids.insert(std::string(KeyIdOf(key)));
    keys.insert(key);
  }
  EXPECT_EQ(keys.size(), 1000U);
  EXPECT_EQ(ids.size(), 1000U);  // a repetition among 2^40: one run in two million
}

TEST(ApiKeyTest, OnlyTheFormOfAKeyHasAnId) {
  const std::string key = "ek_abcdefg2_" + std::string(52, 'x');
  EXPECT_EQ(KeyIdOf(key), "abcdefg2");
  for (const std::string& other :
       {std::string(), std::string("ek_"), key.substr(1), key + "x", key.substr(0, key.size() - 1),
        "EK" + key.substr(2), "ek-" + key.substr(3), "ek_abcdefg1_" + std::string(52, 'x'),
        "ek_abcdefg2-" + std::string(52, 'x'), "ek_abcdefg2_" + std::string(51, 'x') + "\n",
        "ek_abcdefg2_" + std::string(51, 'x') + "X", std::string(kKeySize, '\0')})
    EXPECT_EQ(KeyIdOf(other), "") << other;
}

TEST(ApiKeyTest, TheDigestIsSha256) {
  // FIPS 180-2, appendix B.
  EXPECT_EQ(Hex(DigestOf("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(DigestOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(DigestOf("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const KeyDigest one = DigestOf("abc");
  KeyDigest other = one;
  EXPECT_TRUE(SameDigest(one, other));
  for (uint8_t& byte : other) {
    byte ^= 1;
    EXPECT_FALSE(SameDigest(one, other));
    byte ^= 1;
  }
}

}  // namespace
}  // namespace evenkeel
