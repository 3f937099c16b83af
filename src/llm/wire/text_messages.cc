#include "llm/wire/text_messages.h"

#include <cmath>
#include <limits>

#include "core/format.h"
#include "llm/wire/byte_codec.h"
#include "llm/wire/load_messages.h"

namespace evenkeel {
namespace {

template <typename T>
Result<T> Checked(const ByteReader& in, T message, std::string_view what) {
  if (!in.at_end()) return Internal("a message '{}' that breaks its rules", what);
  return message;
}

// From 0 to `most`.
template <typename T>
T Within(ByteReader& in, T most) {
  const T value = in.Number<T>();
  if (value >= 0 && value <= most) return value;
  in.Fail();
  return 0;
}

}  // namespace

std::string Encode(const TextStart& start) {
  ByteWriter out;
  out.Number(start.id);
  out.Tokens(start.tokens);
  out.Number(start.priority);
  return out.Take();
}

Result<TextStart> DecodeText(std::string_view bytes) {
  ByteReader in(bytes);
  TextStart start;
  start.id = in.Number<uint64_t>();
  start.tokens = in.Tokens();
  start.priority = in.Number<int32_t>();
  if (start.id == 0 || start.tokens.empty()) in.Fail();
  return Checked(in, std::move(start), "text");
}

std::string Encode(const TextEnd& end) {
  ByteWriter out;
  out.Number(end.id);
  out.Number(static_cast<uint8_t>(end.status.code()));
  out.Text(end.status.message());
  out.Number(static_cast<uint32_t>(end.values.size()));
  for (const float value : end.values) out.Number(value);
  for (const Duration time : {end.queue, end.compute}) out.Number(int64_t{time.count()});
  return out.Take();
}

Result<TextEnd> DecodeVector(std::string_view bytes) {
  ByteReader in(bytes);
  TextEnd end;
  end.id = in.Number<uint64_t>();
  const auto code = in.Number<uint8_t>();
  std::string message = PrintableText(in.Text());
  if (code >= kCodeCount) in.Fail();
  const size_t count = in.Count(sizeof(float));
  if (count > kLongestVector || (count == 0) != (code != 0)) in.Fail();
  for (size_t i = 0; i < count && in.ok(); ++i) {
    end.values.push_back(in.Number<float>());
    if (!std::isfinite(end.values.back())) in.Fail();
  }
  if (in.ok() && code != 0) end.status = Status(static_cast<Code>(code), std::move(message));
  for (Duration* time : {&end.queue, &end.compute}) *time = ReadDuration(in);
  return Checked(in, std::move(end), "vector");
}

std::string Encode(const TextReport& report) {
  ByteWriter out;
  for (const int32_t count : {report.tokens, report.texts, report.running, report.waiting})
    out.Number(count);
  out.Number(report.bytes);
  out.Number(int64_t{report.took.count()});
  return out.Take();
}

Result<TextReport> DecodeTextStep(std::string_view bytes) {
  ByteReader in(bytes);
  TextReport report;
  for (int32_t* count : {&report.tokens, &report.texts, &report.running, &report.waiting})
    *count = Within(in, std::numeric_limits<int32_t>::max());
  report.bytes = Within(in, kMostBytes);
  report.took = ReadDuration(in);
  return Checked(in, report, "text step");
}

}  // namespace evenkeel
