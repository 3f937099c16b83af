#include "frontends/routes.h"

#include <algorithm>
#include <array>

namespace evenkeel {
namespace {

using enum Need;

constexpr std::string_view kVerbose = "verbose";

// What is asked most stands first.
constexpr auto kHttpRoutes = std::to_array<HttpRoute>({
    {"/v2/models/{model}/infer", "POST", kInferModel},
    {"/v2/models/{model}/versions/{version}/infer", "POST", kInferModel},
    {"/v1/chat/completions", "POST", kModelInside},
    {"/v1/completions", "POST", kModelInside},
    {"/v1/embeddings", "POST", kModelInside},
    {"/v1/rerank", "POST", kModelInside},
    {"/v1/models", "GET", kKey},
    {"/v1/models/{model}", "GET", kSeeModel},

    {"/v2/models/stats", "GET", kKey},
    {"/v2/models/{model}", "GET", kSeeModel},
    {"/v2/models/{model}/ready", "GET", kSeeModel},
    {"/v2/models/{model}/config", "GET", kSeeModel},
    {"/v2/models/{model}/batching", "GET", kSeeModel},
    {"/v2/models/{model}/stats", "GET", kSeeModel},
    {"/v2/models/{model}/generate", "POST", kInferModel},
    {"/v2/models/{model}/generate_stream", "POST", kInferModel},
    {"/v2/models/{model}/trace/setting", "GET POST", kManage},
    {"/v2/models/{model}/versions/{version}", "GET", kSeeModel},
    {"/v2/models/{model}/versions/{version}/ready", "GET", kSeeModel},
    {"/v2/models/{model}/versions/{version}/config", "GET", kSeeModel},
    {"/v2/models/{model}/versions/{version}/batching", "GET", kSeeModel},
    {"/v2/models/{model}/versions/{version}/stats", "GET", kSeeModel},
    {"/v2/models/{model}/versions/{version}/generate", "POST", kInferModel},
    {"/v2/models/{model}/versions/{version}/generate_stream", "POST", kInferModel},
    {"/v2/repository/index", "POST", kKey},
    {"/v2/repository/models/{model}/load", "POST", kManage},
    {"/v2/repository/models/{model}/unload", "POST", kManage},
    {"/v2/evenkeel/models", "GET", kKey},
    {"/v2/evenkeel/models/{model}", "GET", kSeeModel},
    {"/v2/evenkeel/samples", "GET DELETE", kManage},
    {"/v2/evenkeel/samples/{model}", "GET DELETE", kManage},
    {"/v2/evenkeel/cluster", "GET", kManage},
    {"/v2/evenkeel/cluster/nodes/{node}/drain", "POST", kManage},
    {"/v2/evenkeel/cluster/nodes/{node}/cordon", "POST", kManage},
    {"/v2/evenkeel/cluster/nodes/{node}/uncordon", "POST", kManage},
    {"/v2/evenkeel/cluster/nodes/{node}/rm", "POST", kManage},
    {"/v2/evenkeel/cluster/membership", "GET", kManage},
    {"/v2/evenkeel/cluster/members/{node}/replace", "POST", kManage},
    {"/v2/evenkeel/cluster/promote", "POST", kManage},
    {"/v2/cluster/deploy", "POST", kManage},
    {"/v2/cluster/undeploy", "POST", kManage},
    {"/v2/cluster/deploys", "GET", kManage},
    {"/v2/cluster/plan", "POST", kManage},
    {"/v2/logging", "GET POST", kManage},
    {"/v2/trace/setting", "GET POST", kManage},
    {"/v2/systemsharedmemory/...", "GET POST", kKey},
    {"/v2/cudasharedmemory/...", "GET POST", kKey},
    {"/v2", "GET", kKey},
    {"/", "GET", kKey},

    {"/v2/health/live", "GET", kNothing},
    {"/v2/health/ready", "GET", kNothing},
    {"/livez", "GET", kNothing},
    {"/health", "GET", kNothing},
    {"/readyz?verbose", "GET", kMetrics},
    {"/readyz", "GET", kNothing},
    {"/metrics", "GET", kMetrics},
});

#define EK_INFERENCE "/inference.GRPCInferenceService/"
#define EK_HEALTH "/grpc.health.v1.Health/"
constexpr auto kGrpcRoutes = std::to_array<GrpcRoute>({
    {EK_INFERENCE "ModelInfer", kModelInside},
    {EK_INFERENCE "ModelStreamInfer", kModelInside},
    {EK_INFERENCE "ServerLive", kNothing},
    {EK_INFERENCE "ServerReady", kNothing},
    {EK_INFERENCE "ServerMetadata", kKey},
    {EK_INFERENCE "ModelReady", kModelInside},
    {EK_INFERENCE "ModelMetadata", kModelInside},
    {EK_INFERENCE "ModelConfig", kModelInside},
    {EK_INFERENCE "ModelStatistics", kModelInside},
    {EK_INFERENCE "RepositoryIndex", kKey},
    {EK_INFERENCE "RepositoryModelLoad", kManage},
    {EK_INFERENCE "RepositoryModelUnload", kManage},
    {EK_INFERENCE "TraceSetting", kManage},
    {EK_INFERENCE "LogSettings", kManage},
    {EK_INFERENCE "SystemSharedMemoryStatus", kKey},
    {EK_INFERENCE "SystemSharedMemoryRegister", kKey},
    {EK_INFERENCE "SystemSharedMemoryUnregister", kKey},
    {EK_INFERENCE "CudaSharedMemoryStatus", kKey},
    {EK_INFERENCE "CudaSharedMemoryRegister", kKey},
    {EK_INFERENCE "CudaSharedMemoryUnregister", kKey},
    // Of the server itself anybody may ask; a model's name is checked when it has been read.
    {EK_HEALTH "Check", kNothing},
    {EK_HEALTH "Watch", kNothing},
});
#undef EK_INFERENCE
#undef EK_HEALTH

bool Fits(std::string_view pattern, const HttpPath& path, std::string_view query,
          std::string_view* model) {
  if (const size_t mark = pattern.find('?'); mark != std::string_view::npos) {
    if (!query.starts_with(pattern.substr(mark + 1))) return false;
    pattern = pattern.substr(0, mark);
  }
  size_t at = 0;
  while (pattern.size() > 1) {
    pattern.remove_prefix(1);  // its slash
    const std::string_view part = pattern.substr(0, pattern.find('/'));
    pattern.remove_prefix(part.size());
    if (part == "...") return true;
    if (at == path.size()) return false;
    if (part == "{model}") {
      *model = path[at];
    } else if (part != "{version}" && part != "{node}" && part != path[at]) {
      return false;
    }
    ++at;
  }
  return at == path.size();
}

}  // namespace

std::span<const HttpRoute> HttpRoutes() { return kHttpRoutes; }
std::span<const GrpcRoute> GrpcRoutes() { return kGrpcRoutes; }

std::optional<MatchedRoute> MatchHttpRoute(const HttpPath& path, std::string_view query) {
  for (const HttpRoute& route : kHttpRoutes) {
    std::string_view model;
    if (Fits(route.pattern, path, query, &model)) return MatchedRoute{&route, model};
  }
  return std::nullopt;
}

bool WantsVerbose(std::string_view query) { return query.starts_with(kVerbose); }

std::optional<Need> GrpcNeedOf(std::string_view method) {
  const auto found = std::ranges::find(kGrpcRoutes, method, &GrpcRoute::method);
  return found == kGrpcRoutes.end() ? std::nullopt : std::optional(found->need);
}

Status CheckNeed(Need need, const CallerAccess& access, std::string_view model) {
  switch (need) {
    case kNothing: return {};
    case kKey:
    case kModelInside: return access.CheckKey();
    case kSeeModel: return access.CheckSee(model);
    case kInferModel: return access.CheckInfer(model);
    case kManage: return access.CheckManage();
    case kMetrics: break;
  }
  return access.CheckMetrics();
}

}  // namespace evenkeel
