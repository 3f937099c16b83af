#include "engines/llamacpp/text_tokeniser.h"

#include <common.h>
#include <llama.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

// The longest beginning of `text` of at most `bytes` bytes that ends between characters.
std::string_view Beginning(std::string_view text, size_t bytes) {
  if (bytes >= text.size()) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80U) --bytes;
  return text.substr(0, bytes);
}

}  // namespace

TextTokeniser::TextTokeniser(const LlamaModel& model) : model_(model) {
  const bool sentence_pair = llama_vocab_type(model.vocab()) == LLAMA_VOCAB_TYPE_WPM;
  ending_ = sentence_pair || llama_vocab_get_add_eos(model.vocab()) ? 1 : 0;
  const char* pattern = llama_model_chat_template(model.model(), "rerank");
  if (pattern != nullptr) CutAtControlTokens(pattern);
}

void TextTokeniser::CutAtControlTokens(std::string_view pattern) {
  std::vector<std::pair<std::string, int32_t>> controls;
  for (int32_t token = 0; token < model_.vocabulary(); ++token) {
    const std::string text = llama_vocab_get_text(model_.vocab(), token);
    if (!text.empty() && llama_vocab_is_control(model_.vocab(), token))
      controls.emplace_back(text, token);
  }
  std::ranges::stable_sort(controls, std::ranges::greater{},
                           [](const auto& control) { return control.first.size(); });
  std::string text;
  const auto end_text = [&] {
    if (!text.empty()) pair_.push_back({std::nullopt, std::exchange(text, {})});
  };
  while (!pattern.empty()) {
    const auto found = std::ranges::find_if(
        controls, [&](const auto& control) { return pattern.starts_with(control.first); });
    if (found == controls.end()) {
      text += pattern.front();
      pattern.remove_prefix(1);
      continue;
    }
    end_text();
    pair_.push_back({found->second, {}});
    pattern.remove_prefix(found->first.size());
  }
  end_text();
}

TextTokeniser::Tokens TextTokeniser::Plain(const std::string& text) const {
  return common_tokenize(model_.vocab(), text, false, false);
}

TextTokeniser::Tokens TextTokeniser::OneText(const std::string& text, const Limit& limit,
                                             int64_t* size) const {
  Tokens tokens = common_tokenize(model_.vocab(), text, true, false);
  *size = std::ssize(tokens);
  if (!limit.truncate || tokens.size() <= limit.tokens) return tokens;
  const size_t ending = std::min(ending_, limit.tokens);
  tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(limit.tokens - ending),
               tokens.end() - static_cast<std::ptrdiff_t>(ending));
  return tokens;
}

TextTokeniser::Tokens TextTokeniser::Filled(std::string_view query,
                                            std::string_view document) const {
  constexpr std::string_view kQuery = "{query}";
  constexpr std::string_view kDocument = "{document}";
  Tokens tokens;
  for (const Part& part : pair_) {
    if (part.token) {
      tokens.push_back(*part.token);
      continue;
    }
    // In one pass: what a query says is not looked at again.
    std::string text;
    std::string_view rest = part.text;
    while (!rest.empty()) {
      const bool is_query = rest.starts_with(kQuery);
      const bool is_document = !is_query && rest.starts_with(kDocument);
      if (is_query) text += query;
      if (is_document) text += document;
      if (!is_query && !is_document) text += rest.front();
      rest.remove_prefix(is_query ? kQuery.size() : is_document ? kDocument.size() : 1);
    }
    const Tokens more = Plain(text);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  return tokens;
}

TextTokeniser::Tokens TextTokeniser::OnePair(const std::string& query, const std::string& document,
                                             const Limit& limit, int64_t* size) const {
  const llama_vocab* vocab = model_.vocab();
  if (!pair_.empty()) {
    Tokens tokens = Filled(query, document);
    *size = std::ssize(tokens);
    if (!limit.truncate || tokens.size() <= limit.tokens) return tokens;
    // The longest beginning of the document that fits. Where nothing of it does, the sizes say so.
    size_t fits = 0;
    size_t not_fits = document.size();
    while (fits + 1 < not_fits) {
      const size_t middle = (fits + not_fits) / 2;
      const Tokens shorter = Filled(query, Beginning(document, middle));
      (shorter.size() <= limit.tokens ? fits : not_fits) = middle;
    }
    return Filled(query, Beginning(document, fits));
  }
  const auto end_of = [&](Tokens* tokens) {
    const llama_token end = llama_vocab_eos(vocab);
    if (llama_vocab_get_add_eos(vocab))
      tokens->push_back(end != LLAMA_TOKEN_NULL ? end : llama_vocab_sep(vocab));
  };
  Tokens tokens;
  if (llama_vocab_get_add_bos(vocab)) tokens.push_back(llama_vocab_bos(vocab));
  const Tokens asked = Plain(query);
  tokens.insert(tokens.end(), asked.begin(), asked.end());
  end_of(&tokens);
  if (llama_vocab_get_add_sep(vocab)) tokens.push_back(llama_vocab_sep(vocab));
  Tokens said = Plain(document);
  Tokens ending;
  end_of(&ending);
  *size = std::ssize(tokens) + std::ssize(said) + std::ssize(ending);
  const size_t fixed = tokens.size() + ending.size();
  if (limit.truncate && fixed + said.size() > limit.tokens && fixed < limit.tokens)
    said.resize(limit.tokens - fixed);
  tokens.insert(tokens.end(), said.begin(), said.end());
  tokens.insert(tokens.end(), ending.begin(), ending.end());
  return tokens;
}

Result<std::string> TextTokeniser::Tokenise(const std::string& text) const {
  const Json message = Json::parse(text);
  const auto limit_tokens = message.at("limit").get<int64_t>();
  if (limit_tokens < 1) return Internal("a limit of {} tokens", limit_tokens);
  const Limit limit{static_cast<size_t>(limit_tokens), message.at("truncate").get<bool>()};
  Json rows = Json::array();
  Json sizes = Json::array();
  for (const Json& item : message.at("texts")) {
    const auto& one = item.get_ref<const std::string&>();
    int64_t size = 0;
    Tokens row = message.contains("query")
                     ? OnePair(message.at("query").get<std::string>(), one, limit, &size)
                     : OneText(one, limit, &size);
    if (row.size() > limit.tokens) row.clear();  // its size is what there is to say of it
    rows.push_back(std::move(row));
    sizes.push_back(size);
  }
  return Json{{"id", message.at("id")}, {"rows", std::move(rows)}, {"sizes", std::move(sizes)}}
      .dump();
}

}  // namespace evenkeel
