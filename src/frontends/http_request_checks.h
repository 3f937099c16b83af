// What a request's fields say that every HTTP front end reads alike: numbers, deadline, content type.
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"
#include "net/http_message.h"

namespace evenkeel {

// A field that holds one decimal number; nullopt when it is absent. Error kInvalidArgument.
Result<std::optional<uint64_t>> NumberHeader(const HttpExchange& exchange, std::string_view name);

// When X-Request-Timeout-Ms (0: none; at most 1,000 hours) runs out, counted from the request's arrival; kNever without it.
Result<Time> DeadlineOf(const HttpExchange& exchange);

// What browsers and curl send by default is let through beside JSON and `also` ("": nothing more); what clearly is something else is not.
// Error kInvalidArgument, to be answered 415.
Status CheckContentType(const HttpExchange& exchange, std::string_view also);

}  // namespace evenkeel
