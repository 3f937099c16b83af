#include "frontends/grpc_glue.h"

#include <google/protobuf/message_lite.h>

#include "frontends/server_timing.h"

namespace evenkeel {
namespace {

// Long ids are somebody's mistake; they would cost every reply.
constexpr size_t kMaxRequestId = 256;
// A status travels as a header, and clients refuse headers past 8 KiB: a name of a megabyte must not hide its own error.
constexpr size_t kMaxErrorText = 2048;

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

bool RequestSlices::Hold(const grpc::ByteBuffer& message) {
  if (!message.Valid()) return true;  // an empty message
  if (!message.Dump(&slices_).ok()) return false;
  views_.reserve(slices_.size());
  for (const grpc::Slice& slice : slices_)
    views_.push_back(std::as_bytes(std::span(slice.begin(), slice.size())));
  return true;
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

bool ReadMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  if (!bytes.Valid()) return message->ParseFromString("");
  grpc::Slice slice;
  if (!bytes.DumpToSingleSlice(&slice).ok()) return false;
  return message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
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
