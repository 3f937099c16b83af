// Calls to language models, and what comes of them, as they travel between nodes.
//
// Reading checks what would harm this process (counts, codes); whether the request makes sense is for the model to say.
// Errors: kInvalidArgument. Thread-safety: pure.
#pragma once

#include <string_view>

#include "core/generation.h"
#include "core/status.h"

namespace evenkeel::node::v1 {
class GenerateRequest;
class GenerateEvent;
class LanguageDescription;
}  // namespace evenkeel::node::v1

namespace evenkeel {

void WriteGeneration(const GenerationCall& call, std::string_view model, Time now,
                     node::v1::GenerateRequest* message);
// Request, deadline and priority of `call`.
Status ReadGeneration(const node::v1::GenerateRequest& message, Time now, GenerationCall* call);

void WriteDelta(const GenerationDelta& delta, node::v1::GenerateEvent* event);
GenerationDelta ReadDelta(const node::v1::GenerateEvent& event);  // REQUIRES: event.has_delta()
void WriteDone(const Status& status, const GenerationUsage& usage, node::v1::GenerateEvent* event);
// REQUIRES: event.has_done(). Returns the outcome.
Status ReadDone(const node::v1::GenerateEvent& event, GenerationUsage* usage);
Result<FinishReason> ReadReason(uint32_t reason);
void WriteMove(const MoveOffer& offer, node::v1::GenerateEvent* event);
MoveOffer ReadMove(const node::v1::GenerateEvent& event);  // REQUIRES: event.has_move()

void WriteLanguage(const LanguageModelInfo& info, node::v1::LanguageDescription* message);
LanguageModelInfo ReadLanguage(std::string_view name, const node::v1::LanguageDescription& message);

}  // namespace evenkeel
