// Every route of the server, and what a caller needs for it: one table a protocol.
//
// Contract: what is not in these tables is not served: the router answers 404 and gRPC UNIMPLEMENTED, to who has a key. So a new handler
//   needs a row here before it can be reached, and a row says what its caller needs. Needs do not depend on the method.
// Why some need nothing: who looks after processes and balances load has no secret to send, and learns one bit. Everything that names a model
//   needs a key.
// Thread-safety: thread-safe; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "access/caller_access.h"
#include "core/status.h"
#include "frontends/http_path.h"

namespace evenkeel {

enum class Need : uint8_t {
  kNothing,
  kKey,          // any valid key; lists leave out the models that it may not see
  kSeeModel,     // infer for the model in the path, or manage
  kInferModel,   // infer for the model in the path
  kModelInside,  // any valid key to come in; the model stands in the body, and GuardedService checks it when it has been read
  kManage,
  kMetrics,
};

struct HttpRoute {
  // "/v2/models/{model}/ready". {model}, {version} and {node} are one part each, "..." is any rest; "?word" behind it: the query begins with that.
  std::string_view pattern;
  std::string_view methods;  // that its handler takes, "GET POST"; for readers and tests
  Need need;
};
// The first that fits counts.
std::span<const HttpRoute> HttpRoutes();

struct MatchedRoute {
  const HttpRoute* route = nullptr;
  std::string_view model;  // as it stands in the path, decoded; "" where the pattern has none
};
std::optional<MatchedRoute> MatchHttpRoute(const HttpPath& path, std::string_view query);

// Whether /readyz is to name the models that are not ready.
bool WantsVerbose(std::string_view query);

struct GrpcRoute {
  std::string_view method;  // "/inference.GRPCInferenceService/ModelInfer"
  Need need;
};
std::span<const GrpcRoute> GrpcRoutes();
std::optional<Need> GrpcNeedOf(std::string_view method);

// Errors: kUnauthenticated, kPermissionDenied.
Status CheckNeed(Need need, const CallerAccess& access, std::string_view model = {});

}  // namespace evenkeel
