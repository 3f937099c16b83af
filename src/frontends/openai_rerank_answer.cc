#include <algorithm>
#include <numeric>

#include "core/format.h"
#include "frontends/openai_answer.h"

namespace evenkeel {

std::string RerankJson(const std::vector<std::vector<float>>& rows, int top_n,
                       const std::vector<std::string>* documents, int prompt_tokens,
                       std::string_view model) {
  std::vector<float> scores;
  for (const auto& row : rows) scores.push_back(row.empty() ? 0 : row.front());
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  if (top_n > 0) order.resize(std::min(order.size(), static_cast<size_t>(top_n)));
  std::string out = "{\"object\":\"list\",\"model\":";
  AppendJsonString(model, &out);
  out.append(",\"results\":[");
  for (size_t i = 0; i < order.size(); ++i) {
    fmt::format_to(std::back_inserter(out), R"({}{{"index":{},"relevance_score":{})",
                   i > 0 ? "," : "", order[i], scores[order[i]]);
    if (documents != nullptr) {
      out.append(",\"document\":{\"text\":");
      AppendJsonString((*documents)[order[i]], &out);
      out.push_back('}');
    }
    out.push_back('}');
  }
  fmt::format_to(std::back_inserter(out),
                 R"(],"usage":{{"prompt_tokens":{0},"total_tokens":{0}}}}})", prompt_tokens);
  return out;
}

}  // namespace evenkeel
