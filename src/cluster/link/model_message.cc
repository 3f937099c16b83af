#include "cluster/link/model_message.h"

#include <utility>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.pb.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

constexpr size_t kDigestBytes = 32;
constexpr int kMostHolders = 1000;
constexpr size_t kMostErrorBytes = 4096;

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// From another node, to be shown.
std::string Shown(const std::string& text) {
  return IsUtf8(text) && text.size() <= kMostErrorBytes ? text : Excerpt(text, kMostErrorBytes);
}

void WriteStamp(const PlanStamp& stamp, node::v1::PlanStamp* message) {
  message->set_history(stamp.term.history);
  message->set_term(stamp.term.revision);
  message->set_revision(stamp.revision);
}

// Whether a plan was ever stored under it is the fence's to say.
PlanStamp ReadStamp(const node::v1::PlanStamp& message) {
  return {{message.history(), message.term()}, message.revision()};
}

}  // namespace

std::string DigestBytes(std::string_view digits) {
  if (!IsSha256(digits)) return "";
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(Digit(digits[i]) * 16 + Digit(digits[i + 1]));
  return bytes;
}

std::string DigestDigits(std::string_view bytes) {
  if (bytes.size() != kDigestBytes) return "";
  std::string digits;
  for (const char c : bytes) digits += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return digits;
}

void WriteListing(const ModelListing& listing, node::v1::ListModelResponse* message) {
  message->set_name(listing.name);
  message->set_folder(listing.folder);
  message->set_sha256(DigestBytes(listing.digest));
  for (const std::string& folder : listing.empty_folders) message->add_empty_folders(folder);
  for (const ListedFile& file : listing.files) {
    auto* one = message->add_files();
    one->set_path(file.path);
    one->set_bytes(file.bytes);
    one->set_sha256(DigestBytes(file.sha256));
  }
}

Result<ModelListing> ReadListing(const node::v1::ListModelResponse& message) {
  if (static_cast<size_t>(message.files_size()) > kMostModelFiles)
    return InvalidArgument("a listing: expected at most {} files, got {}", kMostModelFiles,
                           message.files_size());
  if (static_cast<size_t>(message.empty_folders_size()) > kMostModelFiles)
    return InvalidArgument("a listing: expected at most {} folders, got {}", kMostModelFiles,
                           message.empty_folders_size());
  ModelListing listing{message.name(), message.folder(), {}, {}, 0, DigestDigits(message.sha256())};
  listing.empty_folders.assign(message.empty_folders().begin(), message.empty_folders().end());
  for (const auto& file : message.files()) {
    listing.files.push_back({file.path(), file.bytes(), DigestDigits(file.sha256())});
    if (file.bytes() > kMostModelBytes)
      return InvalidArgument("a listing: a file of {} bytes", file.bytes());
    listing.bytes += file.bytes();
  }
  return listing;
}

void WritePiece(const FilePiece& piece, node::v1::ReadFileRequest* message) {
  message->set_model(piece.model);
  message->set_sha256(DigestBytes(piece.digest));
  message->set_path(piece.path);
  message->set_offset(piece.offset);
  message->set_length(static_cast<uint32_t>(piece.length));
}

FilePiece ReadPiece(const node::v1::ReadFileRequest& message) {
  return {message.model(), DigestDigits(message.sha256()), message.path(), message.offset(),
          message.length()};
}

void WriteOrder(const DeployOrder& order, node::v1::DeployRequest* message) {
  message->set_model(order.model);
  message->set_sha256(DigestBytes(order.digest));
  for (const std::string& holder : order.holders) message->add_holders(holder);
  message->set_why(order.why);
  if (order.plan) WriteStamp(*order.plan, message->mutable_plan());
}

Result<DeployOrder> ReadOrder(const node::v1::DeployRequest& message) {
  DeployOrder order{message.model(), DigestDigits(message.sha256()), {}, message.why()};
  if (!IsModelName(order.model))
    return InvalidArgument("{} is not a model's name", Excerpt(order.model));
  if (order.digest.empty())
    return InvalidArgument("a model's SHA-256: expected {} bytes, got {}", kDigestBytes,
                           message.sha256().size());
  EK_RETURN_IF_ERROR(CheckReason(order.why));
  if (message.holders_size() > kMostHolders)
    return InvalidArgument("holders of a model: expected at most {}, got {}", kMostHolders,
                           message.holders_size());
  for (const std::string& holder : message.holders()) {
    EK_RETURN_IF_ERROR(pki::CheckNodeName(holder));
    order.holders.push_back(holder);
  }
  if (message.has_plan()) order.plan = ReadStamp(message.plan());
  return order;
}

void WriteUndeploy(const UndeployOrder& order, node::v1::UndeployRequest* message) {
  message->set_model(order.model);
  message->set_remove_files(order.remove_files);
  message->set_why(order.why);
  message->set_force(order.force);
  if (order.plan) WriteStamp(*order.plan, message->mutable_plan());
}

Result<UndeployOrder> ReadUndeploy(const node::v1::UndeployRequest& message) {
  UndeployOrder order{message.model(), message.remove_files(), message.why()};
  if (!IsModelName(order.model))
    return InvalidArgument("{} is not a model's name", Excerpt(order.model));
  EK_RETURN_IF_ERROR(CheckReason(order.why));
  if (message.has_plan()) order.plan = ReadStamp(message.plan());
  order.force = message.force();
  return order;
}

void WriteProgress(const DeployProgress& progress, node::v1::ProgressResponse* message) {
  message->set_state(static_cast<uint32_t>(progress.state));
  message->set_bytes_total(progress.bytes_total);
  message->set_bytes_done(progress.bytes_done);
  message->set_bytes_resumed(progress.bytes_resumed);
  message->set_bytes_fetched(progress.bytes_fetched);
  message->set_from(progress.from);
  message->set_error(progress.error);
}

DeployProgress ReadProgress(const node::v1::ProgressResponse& message) {
  DeployProgress progress;
  if (message.state() <= static_cast<uint32_t>(DeployState::kFailed))
    progress.state = static_cast<DeployState>(message.state());
  progress.bytes_total = message.bytes_total();
  progress.bytes_done = message.bytes_done();
  progress.bytes_resumed = message.bytes_resumed();
  progress.bytes_fetched = message.bytes_fetched();
  progress.from = Shown(message.from());
  progress.error = Shown(message.error());
  return progress;
}

}  // namespace evenkeel
