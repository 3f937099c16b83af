#include "core/settings_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/format.h"
#include "core/parse.h"
#include "core/settings.h"
#include "core/suggest.h"

namespace evenkeel {
namespace {

// Far above any real file; keeps a wrong path (a model, a device) from being read whole.
constexpr std::streamsize kMaxFileBytes = 1 << 20;

int LineOf(const YAML::Mark& mark) { return mark.line + 1; }

bool IsGroup(const std::string& key) {
  return std::ranges::any_of(AllSettings(),
                             [&](const auto& s) { return s.key.starts_with(key + "."); });
}

Status UnknownKey(const std::string& where, const std::string& key) {
  std::vector<std::string_view> known;
  for (const SettingSpec& spec : AllSettings()) known.push_back(spec.key);
  const std::string_view near = ClosestTo(key, known);
  return InvalidArgument("{}: {} is no setting{}", where, Excerpt(key),
                         near.empty() ? std::string("; see: evenkeel config show")
                                      : fmt::format("; did you mean {}?", near));
}

Status ReadMap(const std::string& path, const YAML::Node& map, const std::string& prefix,
               std::vector<FileSetting>* out) {
  std::vector<std::string> seen;
  for (const auto& entry : map) {
    const int line = LineOf(entry.first.Mark());
    const std::string where = fmt::format("{}:{}", path, line);
    if (!entry.first.IsScalar()) return InvalidArgument("{}: expected a key", where);
    const std::string name = entry.first.Scalar();
    const std::string key = prefix.empty() ? name : prefix + "." + name;
    if (std::ranges::find(seen, name) != seen.end())
      return InvalidArgument("{}: {} is given twice", where, key);
    seen.push_back(name);
    if (FindSetting(key) != nullptr) {
      if (!entry.second.IsScalar())
        return InvalidArgument("{}: {}: expected one value", where, key);
      out->push_back({key, entry.second.Scalar(), line});
    } else if (IsGroup(key)) {
      if (!entry.second.IsMap())
        return InvalidArgument("{}: {}: expected settings below it", where, key);
      EK_RETURN_IF_ERROR(ReadMap(path, entry.second, key, out));
    } else {
      return UnknownKey(where, key);
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::vector<FileSetting>> ParseSettings(const std::string& path, const std::string& yaml) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(yaml);
    if (documents.size() > 1) return InvalidArgument("{}: expected one YAML document", path);
    std::vector<FileSetting> settings;
    if (documents.empty() || documents[0].IsNull()) return settings;
    if (!documents[0].IsMap())
      return InvalidArgument("{}:1: expected settings, as in 'threads: 2'", path);
    EK_RETURN_IF_ERROR(ReadMap(path, documents[0], "", &settings));
    return settings;
  } catch (const YAML::Exception& error) {
    return InvalidArgument("{}:{}: no YAML: {}", path, LineOf(error.mark), error.msg);
  }
}

Result<std::vector<FileSetting>> ReadSettingsFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) return std::vector<FileSetting>{};
    return InvalidArgument("{}: {}", path, std::strerror(errno));
  }
  std::string text(static_cast<size_t>(kMaxFileBytes) + 1, '\0');
  file.read(text.data(), kMaxFileBytes + 1);
  if (file.bad()) return InvalidArgument("{}: {}", path, std::strerror(errno));
  if (file.gcount() > kMaxFileBytes) return InvalidArgument("{}: larger than 1 MiB", path);
  text.resize(static_cast<size_t>(file.gcount()));
  return ParseSettings(path, text);
}

}  // namespace evenkeel
