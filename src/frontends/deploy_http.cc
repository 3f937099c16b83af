#include "frontends/deploy_http.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/log.h"
#include "frontends/deploy_request.h"
#include "frontends/http_reply.h"

namespace evenkeel {
namespace {

using nlohmann::json;

Status Alone() { return {Code::kNotFound, "this server is alone: it is no node of a cluster"}; }

std::string_view BodyOf(const HttpExchange& exchange) {
  const auto body = exchange.body();
  return {reinterpret_cast<const char*>(body.data()), body.size()};
}

auto Answer(HttpExchange& exchange) {
  return [&exchange](const Result<json>& answer) {
    answer.ok() ? ReplyJson(exchange, *answer) : ReplyError(exchange, answer.status());
  };
}

}  // namespace

void Service::DeployModel(DeployRequest /*request*/, std::function<void(Result<json>)> done) {
  done(Alone());
}

void Service::UndeployModel(UndeployRequest /*request*/, std::function<void(Result<json>)> done) {
  done(Alone());
}

Result<json> Service::Deploys() const { return Alone(); }

void Service::StorePlan(std::string /*plan*/, std::function<void(Result<json>)> done) {
  done(Alone());
}

bool DeployHttp::Handle(const HttpPath& path, HttpExchange& exchange) {
  if (path[0] != "v2" || path[1] != "cluster" || path.size() != 3) return false;
  if (path[2] == "deploy") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) Deploy(exchange);
    return true;
  }
  if (path[2] == "undeploy") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) Undeploy(exchange);
    return true;
  }
  if (path[2] == "deploys") {
    if (RequireMethod(exchange, {HttpMethod::kGet})) List(exchange);
    return true;
  }
  if (path[2] == "plan") {
    if (RequireMethod(exchange, {HttpMethod::kPost})) StorePlan(exchange);
    return true;
  }
  return false;
}

void DeployHttp::Deploy(HttpExchange& exchange) {
  auto request = ParseDeployRequest(BodyOf(exchange));
  if (!request.ok()) return ReplyError(exchange, request.status());
  LogInfo("deploying model '{}' was asked for over HTTP{}", HeaderSafe(request->model),
          service_.access().By());
  service_.DeployModel(*std::move(request), Answer(exchange));
}

void DeployHttp::Undeploy(HttpExchange& exchange) {
  auto request = ParseUndeployRequest(BodyOf(exchange));
  if (!request.ok()) return ReplyError(exchange, request.status());
  LogInfo("taking model '{}' from nodes was asked for over HTTP{}", HeaderSafe(request->model),
          service_.access().By());
  service_.UndeployModel(*std::move(request), Answer(exchange));
}

void DeployHttp::StorePlan(HttpExchange& exchange) {
  auto plan = CheckPlanText(BodyOf(exchange));
  if (!plan.ok()) return ReplyError(exchange, plan.status());
  LogInfo("a plan is to be carried out over HTTP{}", service_.access().By());
  service_.StorePlan(*std::move(plan), Answer(exchange));
}

void DeployHttp::List(HttpExchange& exchange) { Answer(exchange)(service_.Deploys()); }

}  // namespace evenkeel
