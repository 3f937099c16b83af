#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/format.h"
#include "frontends/openai_answer.h"

namespace evenkeel {

std::vector<float> Nearness(const std::vector<std::vector<float>>& rows) {
  std::vector<float> out;
  if (rows.empty()) return out;
  const auto dot = [](const std::vector<float>& a, const std::vector<float>& b) {
    return std::inner_product(a.begin(), a.begin() + std::min(std::ssize(a), std::ssize(b)),
                              b.begin(), 0.0);
  };
  const std::vector<float>& query = rows.front();
  const double length = std::sqrt(dot(query, query));
  for (size_t i = 1; i < rows.size(); ++i) {
    const double product = length * std::sqrt(dot(rows[i], rows[i]));
    const double cosine = product > 0 ? dot(query, rows[i]) / product : 0;
    out.push_back(std::isfinite(cosine) ? static_cast<float>(std::clamp(cosine, -1.0, 1.0)) : 0.0F);
  }
  return out;
}

std::string RerankJson(const std::vector<float>& scores, int top_n,
                       const std::vector<std::string>* documents, int prompt_tokens,
                       std::string_view model) {
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
