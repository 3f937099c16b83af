// "Did you mean ...?": the candidate nearest to a mistyped word.
//
// Thread-safety: thread-safe.
#pragma once

#include <span>
#include <string_view>

namespace evenkeel {

// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
int EditDistance(std::string_view a, std::string_view b);

// The candidate nearest to `word`, if one is near: at most a third of the letters (and at least one
// edit) away, or one begins with the other. "" when none is. Ties: the first.
std::string_view ClosestTo(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace evenkeel
