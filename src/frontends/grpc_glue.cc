#include "frontends/grpc_glue.h"

#include <google/protobuf/message_lite.h>

#include <array>
#include <optional>

#include "core/format.h"
#include "frontends/server_timing.h"

namespace evenkeel {
namespace {

// Long ids are somebody's mistake; they would cost every reply.
constexpr size_t kMaxRequestId = 256;
// A status travels as a header, and clients refuse headers past 8 KiB: a name of a megabyte must not hide its own error.
constexpr size_t kMaxErrorText = 2048;

// How a message was compressed, told by its first bytes, for the frame's flag does not reach us. Gzip's first byte begins no protobuf
// message (there is no wire type 7). Zlib's would be a number as field 15, which no message of these protocols has; the second byte
// has to fit it, too.
std::optional<Coding> CodingOf(const std::vector<grpc::Slice>& slices) {
  std::array<unsigned, 2> lead{};
  size_t have = 0;
  for (const grpc::Slice& slice : slices) {
    for (size_t i = 0; i < slice.size() && have < lead.size(); ++i) lead[have++] = slice.begin()[i];
  }
  if (lead[0] == 0x1f && lead[1] == 0x8b) return Coding::kGzip;
  if (lead[0] == 0x78 && (lead[0] * 256 + lead[1]) % 31 == 0) return Coding::kDeflate;
  return std::nullopt;
}

}  // namespace

std::string ErrorText(const Status& status) {
  const std::string& text = status.message();
  if (text.size() <= kMaxErrorText) return text;
  size_t end = kMaxErrorText;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;  // whole characters
  return text.substr(0, end) + "...";
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(InfoOf(status.code()).grpc), ErrorText(status)};
}

Status RequestSlices::Hold(const grpc::ByteBuffer& message, size_t max_bytes) {
  if (!message.Valid()) return {};  // an empty message
  if (!message.Dump(&slices_).ok()) return InvalidArgument("unreadable message");
  if (const auto coding = CodingOf(slices_)) return Unfold(*coding, max_bytes);
  views_.reserve(slices_.size());
  for (const grpc::Slice& slice : slices_)
    views_.push_back(std::as_bytes(std::span(slice.begin(), slice.size())));
  return {};
}

Status RequestSlices::Unfold(Coding coding, size_t max_bytes) {
  std::string joined;
  if (slices_.size() > 1) {
    for (const grpc::Slice& slice : slices_)
      joined.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  const ByteSpan packed = slices_.size() > 1
                              ? std::as_bytes(std::span(joined))
                              : std::as_bytes(std::span(slices_[0].begin(), slices_[0].size()));
  Unfolder unfolder(packed, coding, max_bytes);
  for (;;) {
    const Result<bool> done = unfolder.Step();
    if (!done.ok()) return done.status();
    if (*done) break;
  }
  views_.push_back(unfolder.plain());
  unfolded_ = unfolder.Take();
  slices_.clear();
  return {};
}

size_t RequestSlices::bytes() const {
  size_t sum = 0;
  for (const ByteSpan view : views_) sum += view.size();
  return sum;
}

CallerAccess Identify(const Authorizer& authorizer, const grpc::ServerContextBase& context) {
  if (!authorizer.required()) return CallerAccess::Everything();
  Authorization authorization;
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  for (auto field = first; field != last; ++field)
    authorization.Add({field->second.data(), field->second.size()});
  return authorizer.Identify(authorization);
}

Time DeadlineOf(const grpc::ServerContextBase& context, Time now) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return kNever;
  const auto left =
      std::chrono::duration_cast<Duration>(deadline - std::chrono::system_clock::now());
  // A century off is no deadline; it keeps the sum within range.
  return left > std::chrono::hours(24 * 36500) ? kNever : now + left;
}

grpc::ByteBuffer WriteMessage(const GrpcExchange& exchange, size_t size) {
  const grpc::Slice slice(size);
  // A slice of our own that nobody else refers to yet.
  exchange.Write(reinterpret_cast<std::byte*>(const_cast<uint8_t*>(slice.begin())));
  return {&slice, 1};
}

Status ReadMessage(const grpc::ByteBuffer& bytes, size_t max_bytes,
                   google::protobuf::MessageLite* message) {
  RequestSlices slices;
  EK_RETURN_IF_ERROR(slices.Hold(bytes, max_bytes));
  std::string joined;
  for (const ByteSpan view : slices.views())
    joined.append(reinterpret_cast<const char*>(view.data()), view.size());
  return message->ParseFromString(joined) ? Status::Ok()
                                          : InvalidArgument("malformed protobuf message");
}

grpc::ByteBuffer ToMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

void EchoRequestId(grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("x-request-id");
  if (found == metadata.end() || found->second.size() > kMaxRequestId) return;
  context.AddInitialMetadata("x-request-id", {found->second.data(), found->second.size()});
}

void AddTimings(grpc::ServerContextBase& context, const Timings& timings) {
  context.AddTrailingMetadata("server-timing", ServerTiming(timings));
}

void AddRetryAdvice(grpc::ServerContextBase& context, const Status& status) {
  if (!InfoOf(status.code()).may_retry) return;
  context.AddTrailingMetadata("retry-after", "1");
  context.AddTrailingMetadata("grpc-retry-pushback-ms", "1000");
}

}  // namespace evenkeel
