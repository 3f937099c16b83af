#include "access/caller_access.h"

#include <algorithm>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

Status LacksModel(const KeyRecord& key, std::string_view model) {
  return PermissionDenied("API key '{}' has no scope infer: for model {}", key.name,
                          Excerpt(model, 128));
}

}  // namespace

Status CallerAccess::CheckKey() const {
  return everything_ || key_ != nullptr ? Status() : Unauthenticated("{}", refusal_);
}

Status CallerAccess::CheckInfer(std::string_view model) const {
  EK_RETURN_IF_ERROR(CheckKey());
  return everything_ || Infers(model) ? Status() : LacksModel(*key_, model);
}

Status CallerAccess::CheckSee(std::string_view model) const {
  EK_RETURN_IF_ERROR(CheckKey());
  return Sees(model) ? Status() : LacksModel(*key_, model);
}

Status CallerAccess::CheckManage() const { return CheckHas(ScopeKind::kManage); }
Status CallerAccess::CheckMetrics() const { return CheckHas(ScopeKind::kMetrics); }

bool CallerAccess::Sees(std::string_view model) const {
  return everything_ || Has(ScopeKind::kManage) || Infers(model);
}

std::string CallerAccess::By() const {
  return key_ == nullptr ? std::string() : fmt::format(" by API key '{}'", key_->name);
}

bool CallerAccess::Infers(std::string_view model) const {
  return key_ != nullptr && std::ranges::any_of(key_->scopes, [model](const Scope& scope) {
           return CoversModel(scope, model);
         });
}

bool CallerAccess::Has(ScopeKind kind) const {
  return key_ != nullptr &&
         std::ranges::any_of(key_->scopes, [kind](const Scope& s) { return s.kind == kind; });
}

Status CallerAccess::CheckHas(ScopeKind kind) const {
  EK_RETURN_IF_ERROR(CheckKey());
  if (everything_ || Has(kind)) return {};
  return PermissionDenied("API key '{}' has no scope {}", key_->name, ToString(Scope{kind, ""}));
}

}  // namespace evenkeel
