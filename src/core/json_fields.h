// The fields of a JSON object from outside, each asked for by name and held to its kind.
//
// Contract: the first thing that is wrong is remembered as status() (kInvalidArgument, with the place and what was expected: "tasks[2].gflop: expected a number of at least 0, got \"2\""),
//   and from then on every field is what it is otherwise: ask for all, then look. Unknown keys are wrong; the nearest known one is named.
// Ownership: the object outlives this. Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

class JsonFields {
 public:
  // `place` begins every message; empty: what is wrong does.
  JsonFields(const nlohmann::json& object, std::string place,
             std::initializer_list<std::string_view> known);
  const Status& status() const { return status_; }

  // From `least` to 1e15.
  double Number(const char* key, double otherwise, bool needed = false, double least = 0);
  // A whole one.
  int64_t Count(const char* key, int64_t otherwise, int64_t least, int64_t most);
  std::string Text(const char* key, const std::string& otherwise,
                   bool needed = false);  // not empty
  bool Truth(const char* key, bool otherwise);
  int64_t Bytes(const char* key, int64_t otherwise, bool needed = false);  // "8GiB"
  double Seconds(const char* key, double otherwise);                       // "2ms"
  const nlohmann::json* List(const char* key, bool needed = false);        // null: it is not there
  const nlohmann::json* Find(const char* key, bool needed = false);        // of any kind

 private:
  std::string At(std::string_view key) const;  // "PLACE.KEY: ", or as much of it as there is
  void Fail(const char* key, const std::string& expected, const nlohmann::json& got);

  const nlohmann::json& object_;
  const std::string place_;
  Status status_;
};

}  // namespace evenkeel
