// Who sent a call, and what they may do. Made by the Authorizer and carried along with the call.
//
// Contract: one that nobody filled in may do nothing. The Check...() answer Ok, kUnauthenticated (no valid key, and why) or
//   kPermissionDenied (a valid key without the scope); their messages never repeat a credential. That a model exists is not said
//   to who may not see it: the check comes before the look-up.
// Thread-safety: a value; shares the key's record with the Authorizer's table.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "access/key_record.h"
#include "core/status.h"

namespace evenkeel {

class CallerAccess {
 public:
  // Nobody: no credential came.
  CallerAccess() = default;
  // Keys are not asked for: whoever it is may do everything.
  static CallerAccess Everything() { return CallerAccess(/*everything=*/true, {}, nullptr); }
  // Nobody, for this reason. `why`: a literal.
  static CallerAccess Refused(std::string_view why) { return CallerAccess(false, why, nullptr); }
  static CallerAccess Of(std::shared_ptr<const KeyRecord> key) {
    return CallerAccess(false, {}, std::move(key));
  }

  Status CheckKey() const;  // any valid key
  Status CheckInfer(std::string_view model) const;
  Status CheckSee(std::string_view model) const;  // infer or manage
  Status CheckManage() const;
  Status CheckMetrics() const;
  // CheckSee() is Ok: for lists, which leave out what the caller may not see.
  bool Sees(std::string_view model) const;

  bool everything() const { return everything_; }
  // Null for nobody and everybody.
  const KeyRecord* key() const { return key_.get(); }
  // " by API key 'ci'" for a line in the log; "" without a key.
  std::string By() const;

 private:
  CallerAccess(bool everything, std::string_view refusal, std::shared_ptr<const KeyRecord> key)
      : everything_(everything), refusal_(refusal), key_(std::move(key)) {}
  bool Infers(std::string_view model) const;
  bool Has(ScopeKind kind) const;
  Status CheckHas(ScopeKind kind) const;

  bool everything_ = false;
  std::string_view refusal_ = "no API key came: expected 'Authorization: Bearer KEY'";
  std::shared_ptr<const KeyRecord> key_;
};

}  // namespace evenkeel
