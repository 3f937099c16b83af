#include "repository/gguf_shape_check.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/format.h"
#include "core/pooling.h"

namespace evenkeel {
namespace {

constexpr uint64_t kMaxFeedForward = uint64_t{1} << 24;
constexpr uint64_t kMaxExperts = 1'024;
constexpr uint64_t kMaxHeadLength = uint64_t{1} << 16;
constexpr uint64_t kBytesOfHalf = 2;

class ShapeChecker {
 public:
  ShapeChecker(const GgufMetadata& metadata, GgufFacts* facts)
      : metadata_(metadata), facts_(*facts) {}

  Status Check() {
    EK_RETURN_IF_ERROR(Need("block_count", kMaxGgufBlocks, &facts_.blocks));
    EK_RETURN_IF_ERROR(Need("context_length", kMaxGgufContext, &facts_.context_tokens));
    EK_RETURN_IF_ERROR(Need("embedding_length", kMaxGgufEmbedding, &facts_.embedding));
    recurrent_ = HasKeysUnder("ssm") || HasKeysUnder("wkv") || HasKeysUnder("shortconv");
    EK_RETURN_IF_ERROR(
        metadata_.PerLayer(Key("feed_forward_length"), Blocks(), Least(), kMaxFeedForward)
            .status());
    EK_RETURN_IF_ERROR(CheckHeads());
    EK_RETURN_IF_ERROR(CheckExperts());
    EK_RETURN_IF_ERROR(CheckNumbers());
    return CheckPooling();
  }

 private:
  std::string Key(std::string_view name) const {
    return fmt::format("{}.{}", facts_.architecture, name);
  }
  uint64_t Blocks() const { return static_cast<uint64_t>(facts_.blocks); }
  // Models without attention write zeros for its sizes.
  uint64_t Least() const { return recurrent_ ? 0 : 1; }
  bool HasKeysUnder(std::string_view name) const {
    return !metadata_.KeysFrom(Key(name) + ".").empty();
  }

  Status Need(std::string_view name, uint64_t most, int* out) const {
    const Result<uint64_t> number = metadata_.NeedWhole(Key(name), 1, most);
    if (!number.ok()) return number.status();
    *out = static_cast<int>(*number);
    return Status::Ok();
  }

  Status CheckHeads() {
    const std::string heads_key = Key("attention.head_count");
    const std::string kv_key = Key("attention.head_count_kv");
    Result<std::vector<uint64_t>> heads =
        metadata_.PerLayer(heads_key, Blocks(), Least(), kMaxGgufHeads);
    if (!heads.ok()) return heads.status();
    if (heads->empty() && !recurrent_) {
      return GgufMetadata::Error(heads_key, "is missing, expected a whole number of at least 1");
    }
    if (heads->empty()) heads = std::vector<uint64_t>(Blocks(), 0);
    Result<std::vector<uint64_t>> kv_heads =
        metadata_.PerLayer(kv_key, Blocks(), Least(), kMaxGgufHeads);
    if (!kv_heads.ok()) return kv_heads.status();
    if (kv_heads->empty()) kv_heads = *heads;
    for (size_t block = 0; block < heads->size(); ++block) {
      const uint64_t all = (*heads)[block];
      const uint64_t kv = (*kv_heads)[block];
      if (all != 0 && kv != 0 && all % kv != 0) {
        return GgufMetadata::Error(
            kv_key, fmt::format("expected a divisor of head_count, {}, in block {}, got {}", all,
                                block, kv));
      }
    }
    facts_.heads = static_cast<int>(std::ranges::max(*heads));
    facts_.kv_heads = static_cast<int>(std::ranges::max(*kv_heads));
    return CheckHeadLengths(*kv_heads);
  }

  Status CheckHeadLengths(const std::vector<uint64_t>& kv_heads) {
    const Result<std::vector<uint64_t>> keys = HeadLengths("attention.key_length");
    if (!keys.ok()) return keys.status();
    const Result<std::vector<uint64_t>> values = HeadLengths("attention.value_length");
    if (!values.ok()) return values.status();
    // At most 512 blocks of 2^16 heads of 2^17 numbers: far from overflow.
    uint64_t numbers = 0;
    for (size_t block = 0; block < kv_heads.size(); ++block) {
      numbers += kv_heads[block] * ((*keys)[block] + (*values)[block]);
    }
    facts_.kv_bytes_per_token = static_cast<int64_t>(numbers * kBytesOfHalf);
    return Status::Ok();
  }

  // Of each block: what the key says, else an equal part of the embedding for each head.
  Result<std::vector<uint64_t>> HeadLengths(std::string_view name) const {
    Result<std::vector<uint64_t>> given =
        metadata_.PerLayer(Key(name), Blocks(), Least(), kMaxHeadLength);
    if (!given.ok() || !given->empty()) return given;
    if (facts_.heads == 0) return std::vector<uint64_t>(Blocks(), 0);
    if (facts_.embedding % facts_.heads != 0) {
      return GgufMetadata::Error(
          Key(name), fmt::format("is missing, and embedding_length, {}, is no multiple of {} heads",
                                 facts_.embedding, facts_.heads));
    }
    return std::vector<uint64_t>(Blocks(), static_cast<uint64_t>(facts_.embedding / facts_.heads));
  }

  Status CheckExperts() const {
    const Result<std::optional<uint64_t>> all =
        metadata_.Whole(Key("expert_count"), 0, kMaxExperts);
    if (!all.ok()) return all.status();
    const uint64_t experts = all->value_or(0);
    const std::string used_key = Key("expert_used_count");
    const uint64_t least = experts > 0 ? 1 : 0;
    if (experts > 0) return metadata_.NeedWhole(used_key, least, experts).status();
    return metadata_.Whole(used_key, least, experts).status();
  }

  // Numbers that every token is divided by or raised to.
  Status CheckNumbers() const {
    EK_RETURN_IF_ERROR(
        metadata_.PerLayer(Key("rope.dimension_count"), Blocks(), 0, kMaxHeadLength).status());
    EK_RETURN_IF_ERROR(metadata_.CheckReal(Key("rope.freq_base"), 0, 1e12));
    EK_RETURN_IF_ERROR(metadata_.CheckReal(Key("attention.layer_norm_epsilon"), 0, 1));
    return metadata_.CheckReal(Key("attention.layer_norm_rms_epsilon"), 0, 1);
  }

  Status CheckPooling() const {
    const Result<std::optional<uint64_t>> pooling =
        metadata_.Whole(Key("pooling_type"), 0, kPoolingNames.size() - 1);
    if (!pooling.ok()) return pooling.status();
    if (*pooling) facts_.pooling = kPoolingNames.at(**pooling);
    return Status::Ok();
  }

  const GgufMetadata& metadata_;
  GgufFacts& facts_;
  bool recurrent_ = false;  // state instead of, or beside, attention
};

}  // namespace

Status CheckGgufShape(const GgufMetadata& metadata, GgufFacts* facts) {
  return ShapeChecker(metadata, facts).Check();
}

}  // namespace evenkeel
