// Every call of the inference protocol but inference itself: protobuf messages in and out, answered from the GuardedService.
//
// Contract: none blocks. Load and unload answer later, on any thread. Errors as in service.h; the caller words them for gRPC.
// Thread-safety: thread-safe.
#pragma once

#include <functional>

#include "core/status.h"

namespace inference {
class ServerMetadataResponse;
class ModelReadyRequest;
class ModelReadyResponse;
class ModelMetadataRequest;
class ModelMetadataResponse;
class ModelConfigRequest;
class ModelConfigResponse;
class ModelStatisticsRequest;
class ModelStatisticsResponse;
class RepositoryIndexRequest;
class RepositoryIndexResponse;
class RepositoryModelLoadRequest;
class RepositoryModelUnloadRequest;
class TraceSettingRequest;
class TraceSettingResponse;
class LogSettingsRequest;
class LogSettingsResponse;
}  // namespace inference

namespace evenkeel {

class GuardedService;

void GetServerMetadata(inference::ServerMetadataResponse* response);
// Models that are not known are not ready: clients wait with this call for a model that is still to come.
Status GetModelReady(const GuardedService& service, const inference::ModelReadyRequest& request,
                     inference::ModelReadyResponse* response);
Status GetModelMetadata(const GuardedService& service,
                        const inference::ModelMetadataRequest& request,
                        inference::ModelMetadataResponse* response);
Status GetModelConfig(const GuardedService& service, const inference::ModelConfigRequest& request,
                      inference::ModelConfigResponse* response);
Status GetModelStatistics(const GuardedService& service,
                          const inference::ModelStatisticsRequest& request,
                          inference::ModelStatisticsResponse* response);

Status GetRepositoryIndex(const GuardedService& service,
                          const inference::RepositoryIndexRequest& request,
                          inference::RepositoryIndexResponse* response);
// `done` is called exactly once. Parameter "config" replaces the model's settings; files in the request are not supported.
void LoadModel(GuardedService& service, const inference::RepositoryModelLoadRequest& request,
               std::function<void(Status)> done);
void UnloadModel(GuardedService& service, const inference::RepositoryModelUnloadRequest& request,
                 std::function<void(Status)> done);

// Tracing is always off; asking for the settings works, changing them is kUnsupported.
Status ApplyTraceSettings(const inference::TraceSettingRequest& request,
                          inference::TraceSettingResponse* response);
// The levels of the process's log; who changes them is in it. log_file and log_format cannot be changed.
Status ApplyLogSettings(const GuardedService& service, const inference::LogSettingsRequest& request,
                        inference::LogSettingsResponse* response);

}  // namespace evenkeel
