// Listings, orders and progress to messages and back. What is read was not checked by anybody: sizes and digests are here, the rest by CheckListing().
//
// Errors: kInvalidArgument. Thread-safety: pure.
#pragma once

#include <string>
#include <string_view>

#include "cluster/models/deploy_order.h"
#include "cluster/models/model_files.h"
#include "core/status.h"

namespace evenkeel::node::v1 {
class DeployRequest;
class ListModelResponse;
class ProgressResponse;
class ReadFileRequest;
class UndeployRequest;
}  // namespace evenkeel::node::v1

namespace evenkeel {

// 64 hexadecimal digits as 32 bytes and back; "" for what is neither.
std::string DigestBytes(std::string_view digits);
std::string DigestDigits(std::string_view bytes);

void WriteListing(const ModelListing& listing, node::v1::ListModelResponse* message);
Result<ModelListing> ReadListing(const node::v1::ListModelResponse& message);
void WritePiece(const FilePiece& piece, node::v1::ReadFileRequest* message);
FilePiece ReadPiece(const node::v1::ReadFileRequest& message);
void WriteOrder(const DeployOrder& order, node::v1::DeployRequest* message);
// Names, digest and reason are checked.
Result<DeployOrder> ReadOrder(const node::v1::DeployRequest& message);
void WriteUndeploy(const UndeployOrder& order, node::v1::UndeployRequest* message);
// Name and reason are checked.
Result<UndeployOrder> ReadUndeploy(const node::v1::UndeployRequest& message);
void WriteProgress(const DeployProgress& progress, node::v1::ProgressResponse* message);
DeployProgress ReadProgress(const node::v1::ProgressResponse& message);

}  // namespace evenkeel
