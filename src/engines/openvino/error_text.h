// What the engine throws, as one line for an operator or a client.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace evenkeel {

// Drops the engine's source positions and severity marks, repeats, and the folder of `model_path`; joins the rest to one line of at most
// 400 bytes.
std::string CleanEngineError(std::string_view what, std::string_view model_path);

// True where the engine says that the shapes of the inputs do not fit each other or the model: the caller's mistake, not the engine's.
bool IsShapeError(std::string_view what);

}  // namespace evenkeel
