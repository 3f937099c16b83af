#include "engines/llamacpp/saved_state.h"

#include <llama.h>

#include <exception>
#include <new>

#include "core/format.h"
#include "core/sequence_state.h"
#include "llm/wire/kv_state.h"

namespace evenkeel {

Result<std::string> SaveSlot(const LlamaModel& model, int slot, size_t tokens) {
  if (model.StateKind().empty())
    return Unsupported("a sequence of this model has no state that could be sent");
  try {
    const size_t size = llama_state_seq_get_size(model.context(), slot);
    if (size == 0 || size > kMostStateBytes)
      return TooLarge("a state of {} bytes; at most {} are sent", size, kMostStateBytes);
    std::string bytes(size, '\0');
    const size_t written = llama_state_seq_get_data(
        model.context(), reinterpret_cast<uint8_t*>(bytes.data()), size, slot);
    if (written != size)
      return Internal("the engine wrote {} bytes of a state of {}", written, size);
    const Status known = CheckKvState(bytes, tokens);
    if (!known.ok()) return Unsupported("{}", known.message());
    return bytes;
  } catch (const std::bad_alloc&) {
    return Unavailable("not enough memory for a sequence's state");
  } catch (const std::exception& e) {
    return Internal("the engine gives no state: {}", e.what());
  }
}

Status LoadSlot(const LlamaModel& model, int slot, std::string_view bytes, size_t tokens) {
  if (model.StateKind().empty())
    return Unsupported("a sequence of this model goes on from no state");
  EK_RETURN_IF_ERROR(CheckKvState(bytes, tokens));
  try {
    const size_t read = llama_state_seq_set_data(
        model.context(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), slot);
    if (read != bytes.size())
      return InvalidArgument(
          "the engine takes {} bytes of a state of {}: it is none of this model's", read,
          bytes.size());
  } catch (const std::exception& e) {
    return Internal("the engine does not take a state: {}", e.what());
  }
  const llama_memory_t memory = llama_get_memory(model.context());
  const llama_pos first = llama_memory_seq_pos_min(memory, slot);
  const llama_pos last = llama_memory_seq_pos_max(memory, slot);
  if (first != 0 || static_cast<int64_t>(last) + 1 != static_cast<int64_t>(tokens))
    return Internal("a state of {} tokens is at positions {} to {}", tokens, first, last);
  return Status::Ok();
}

}  // namespace evenkeel
