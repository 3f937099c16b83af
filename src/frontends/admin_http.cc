#include "frontends/admin_http.h"

#include <nlohmann/json.hpp>

#include "core/log.h"
#include "frontends/http_documents.h"
#include "frontends/http_reply.h"

namespace evenkeel {

Result<nlohmann::json> Service::DescribeCluster() const {
  return Status(Code::kNotFound, "this server is alone: it is no node of a cluster");
}

void Service::SetNodeState(std::string /*node*/, std::string /*state*/,
                           std::function<void(Status)> done) {
  done(Status(Code::kNotFound, "this server is alone: it is no node of a cluster"));
}

Result<nlohmann::json> Service::DescribeMembership() const {
  return Status(Code::kNotFound, "this server is alone: it is no node of a cluster");
}

void Service::ChangeMembership(std::string /*change*/, std::string /*node*/,
                               std::function<void(Status)> done) {
  done(Status(Code::kNotFound, "this server is alone: it is no node of a cluster"));
}

bool AdminHttp::Handle(const HttpPath& path, HttpExchange& exchange) {
  if (path[0] != "v2" || path[1] != "evenkeel" || path.size() < 3) return false;
  if (path[2] == "cluster") return Cluster(path, exchange);
  if (path.size() > 4) return false;
  if (path[2] == "models") {
    path.size() == 3 ? Models(exchange) : Model(path[3], exchange);
    return true;
  }
  if (path[2] == "samples") {
    path.size() == 3 ? Samples(exchange) : SamplesOf(path[3], exchange);
    return true;
  }
  return false;
}

void AdminHttp::Models(HttpExchange& exchange) {
  if (RequireMethod(exchange, {HttpMethod::kGet})) ReplyJson(exchange, service_.Describe());
}

void AdminHttp::Model(std::string_view name, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<nlohmann::json> model = service_.DescribeModel(name);
  model.ok() ? ReplyJson(exchange, *model) : ReplyError(exchange, model.status());
}

void AdminHttp::Cluster(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<nlohmann::json> cluster = service_.DescribeCluster();
  cluster.ok() ? ReplyJson(exchange, *cluster) : ReplyError(exchange, cluster.status());
}

bool AdminHttp::Cluster(const HttpPath& path, HttpExchange& exchange) {
  if (path.size() == 3) {
    Cluster(exchange);
  } else if (path[3] == "membership" && path.size() == 4) {
    Membership(exchange);
  } else if (path[3] == "promote" && path.size() == 4) {
    ChangeMembership("promote", "", exchange);
  } else if (path[3] == "members" && path.size() == 6 && path[5] == "replace") {
    ChangeMembership("replace", path[4], exchange);
  } else if (path[3] == "nodes" && path.size() == 6 && path[5] == "rm") {
    ChangeMembership("rm", path[4], exchange);
  } else if (path[3] == "nodes" && path.size() == 6) {
    NodeState(path[4], path[5], exchange);
  } else {
    return false;
  }
  return true;
}

void AdminHttp::Membership(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet})) return;
  const Result<nlohmann::json> membership = service_.DescribeMembership();
  membership.ok() ? ReplyJson(exchange, *membership) : ReplyError(exchange, membership.status());
}

void AdminHttp::ChangeMembership(std::string_view change, std::string_view node,
                                 HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kPost})) return;
  LogInfo("{} of the cluster's node '{}' was asked for over HTTP{}", HeaderSafe(change),
          HeaderSafe(node), service_.access().By());
  service_.ChangeMembership(
      std::string(change), std::string(node), [&exchange](const Status& status) {
        status.ok() ? ReplyJson(exchange, nlohmann::json::object()) : ReplyError(exchange, status);
      });
}

void AdminHttp::NodeState(std::string_view node, std::string_view state, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kPost})) return;
  LogInfo("{} of node '{}' was asked for over HTTP{}", HeaderSafe(state), HeaderSafe(node),
          service_.access().By());
  service_.SetNodeState(std::string(node), std::string(state), [&exchange](const Status& status) {
    status.ok() ? ReplyJson(exchange, nlohmann::json::object()) : ReplyError(exchange, status);
  });
}

void AdminHttp::Samples(HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet, HttpMethod::kDelete})) return;
  if (exchange.head().method == HttpMethod::kDelete) return Remove("", exchange);
  const Result<std::vector<SampleSummary>> samples = service_.Samples();
  samples.ok() ? ReplyJson(exchange, SamplesDocument(*samples))
               : ReplyError(exchange, samples.status());
}

void AdminHttp::SamplesOf(std::string_view model, HttpExchange& exchange) {
  if (!RequireMethod(exchange, {HttpMethod::kGet, HttpMethod::kDelete})) return;
  if (exchange.head().method == HttpMethod::kDelete) return Remove(model, exchange);
  Result<std::string> bytes = service_.ExportSamples(model);
  bytes.ok() ? ReplyText(exchange, *std::move(bytes), "application/octet-stream")
             : ReplyError(exchange, bytes.status());
}

void AdminHttp::Remove(std::string_view model, HttpExchange& exchange) {
  LogInfo("removal of samples asked for, model '{}'{}", HeaderSafe(model), service_.access().By());
  const Status status = service_.RemoveSamples(model);
  status.ok() ? ReplyJson(exchange, nlohmann::json::object()) : ReplyError(exchange, status);
}

}  // namespace evenkeel
