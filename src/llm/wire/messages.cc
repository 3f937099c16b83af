#include "llm/wire/messages.h"

#include <cmath>

#include "core/format.h"
#include "llm/wire/byte_codec.h"

namespace evenkeel {
namespace {

int32_t ReadCount(ByteReader& in) {
  const auto value = in.Number<int32_t>();
  if (value < 0) in.Fail();
  return value;
}

void WriteSampling(const Sampling& s, ByteWriter* out) {
  for (const float value : {s.temperature, s.top_p, s.min_p, s.frequency_penalty,
                            s.presence_penalty, s.repeat_penalty}) {
    out->Number(value);
  }
  out->Number(static_cast<int32_t>(s.top_k));
  out->Number(s.seed.value_or(0));
  out->Number(static_cast<uint32_t>(s.logit_bias.size()));
  for (const auto& [token, bias] : s.logit_bias) {
    out->Number(token);
    out->Number(bias);
  }
}

Sampling ReadSampling(ByteReader& in) {
  Sampling s;
  for (float* value : {&s.temperature, &s.top_p, &s.min_p, &s.frequency_penalty,
                       &s.presence_penalty, &s.repeat_penalty}) {
    *value = in.Number<float>();
    if (!std::isfinite(*value)) in.Fail();
  }
  s.top_k = in.Number<int32_t>();
  s.seed = in.Number<uint32_t>();
  const size_t biases = in.Count(8);
  for (size_t i = 0; i < biases; ++i) {
    const auto token = in.Number<int32_t>();
    const auto bias = in.Number<float>();
    if (!std::isfinite(bias)) in.Fail();
    s.logit_bias.emplace_back(token, bias);
  }
  return s;
}

void WriteGrammar(const AnswerGrammar& grammar, ByteWriter* out) {
  out->Number(static_cast<uint8_t>(grammar.kind));
  out->Text(grammar.gbnf);
  out->Number(static_cast<uint8_t>(grammar.lazy));
  out->Number(static_cast<uint32_t>(grammar.triggers.size()));
  for (const auto& trigger : grammar.triggers) {
    out->Number(trigger.kind);
    out->Text(trigger.text);
    out->Number(trigger.token);
  }
  out->Tokens(grammar.preserved);
  out->Text(grammar.begun);
}

AnswerGrammar ReadGrammar(ByteReader& in) {
  AnswerGrammar grammar;
  const auto kind = in.Number<uint8_t>();
  if (kind > static_cast<uint8_t>(AnswerGrammar::Kind::kTools)) in.Fail();
  grammar.kind = static_cast<AnswerGrammar::Kind>(kind);
  grammar.gbnf = in.Text();
  grammar.lazy = in.Flag();
  const size_t triggers = in.Count(9);
  for (size_t i = 0; i < triggers; ++i) {
    AnswerGrammar::Trigger trigger;
    trigger.kind = in.Number<uint8_t>();
    if (trigger.kind > 3) in.Fail();
    trigger.text = in.Text();
    trigger.token = in.Number<int32_t>();
    grammar.triggers.push_back(std::move(trigger));
  }
  grammar.preserved = in.Tokens();
  grammar.begun = in.Text();
  return grammar;
}

void WriteLogprob(const TokenLogprob& logprob, ByteWriter* out) {
  out->Text(logprob.bytes);
  out->Number(logprob.logprob);
  out->Number(static_cast<uint32_t>(logprob.top.size()));
  for (const auto& [bytes, value] : logprob.top) {
    out->Text(bytes);
    out->Number(value);
  }
}

TokenLogprob ReadLogprob(ByteReader& in) {
  TokenLogprob logprob;
  logprob.bytes = in.Text();
  logprob.logprob = in.Number<float>();
  if (std::isnan(logprob.logprob)) in.Fail();
  const size_t count = in.Count(8);
  for (size_t i = 0; i < count; ++i) {
    std::string bytes = in.Text();
    const auto value = in.Number<float>();
    if (std::isnan(value)) in.Fail();
    logprob.top.emplace_back(std::move(bytes), value);
  }
  return logprob;
}

template <typename T>
Result<T> Checked(const ByteReader& in, T message, std::string_view what) {
  if (!in.at_end()) return Internal("a message '{}' that breaks its rules", what);
  return message;
}

}  // namespace

std::string Encode(const SequenceStart& start) {
  ByteWriter out;
  out.Number(start.id);
  out.Number(start.leader);
  out.Tokens(start.prompt);
  out.Tokens(start.answered);
  out.Number(start.max_tokens);
  WriteSampling(start.sampling, &out);
  out.Number(static_cast<uint32_t>(start.stop.size()));
  for (const std::string& word : start.stop) out.Text(word);
  WriteGrammar(start.grammar, &out);
  out.Number(start.top_logprobs);
  out.Number(static_cast<uint8_t>(start.ignore_eos));
  out.Number(start.priority);
  return out.Take();
}

Result<SequenceStart> DecodeStart(std::string_view bytes) {
  ByteReader in(bytes);
  SequenceStart start;
  start.id = in.Number<uint64_t>();
  start.leader = in.Number<uint64_t>();
  start.prompt = in.Tokens();
  start.answered = in.Tokens();
  start.max_tokens = ReadCount(in);
  start.sampling = ReadSampling(in);
  const size_t stops = in.Count(4);
  for (size_t i = 0; i < stops; ++i) start.stop.push_back(in.Text());
  start.grammar = ReadGrammar(in);
  start.top_logprobs = in.Number<int32_t>();
  start.ignore_eos = in.Flag();
  start.priority = in.Number<int32_t>();
  if (start.id == 0 || start.prompt.empty() || start.top_logprobs > 20) in.Fail();
  return Checked(in, std::move(start), "start");
}

std::string Encode(const SequenceToken& token) {
  ByteWriter out;
  out.Number(token.id);
  out.Number(token.token);
  out.Text(token.text);
  out.Number(static_cast<uint8_t>(token.logprob.has_value()));
  if (token.logprob) WriteLogprob(*token.logprob, &out);
  return out.Take();
}

Result<SequenceToken> DecodeToken(std::string_view bytes) {
  ByteReader in(bytes);
  SequenceToken token;
  token.id = in.Number<uint64_t>();
  token.token = ReadCount(in);
  token.text = in.Text();
  if (in.Flag()) token.logprob = ReadLogprob(in);
  return Checked(in, std::move(token), "token");
}

std::string Encode(const SequenceEnd& end) {
  ByteWriter out;
  out.Number(end.id);
  out.Number(static_cast<uint8_t>(end.reason));
  out.Text(end.text);
  out.Number(static_cast<uint8_t>(end.status.code()));
  out.Text(end.status.message());
  for (const int32_t count : {end.prompt_tokens, end.cached_tokens, end.completion_tokens}) {
    out.Number(count);
  }
  for (const Duration time : {end.queue, end.prompt, end.decode}) out.Number(int64_t{time.count()});
  return out.Take();
}

Result<SequenceEnd> DecodeEnd(std::string_view bytes) {
  ByteReader in(bytes);
  SequenceEnd end;
  end.id = in.Number<uint64_t>();
  const auto reason = in.Number<uint8_t>();
  if (reason > static_cast<uint8_t>(SequenceEnd::Reason::kFailed)) in.Fail();
  end.reason = static_cast<SequenceEnd::Reason>(reason);
  end.text = in.Text();
  const auto code = in.Number<uint8_t>();
  std::string message = PrintableText(in.Text());
  if (code >= kCodeCount || (code != 0) != (end.reason == SequenceEnd::Reason::kFailed)) in.Fail();
  if (code != 0) end.status = Status(static_cast<Code>(code), std::move(message));
  for (int32_t* count : {&end.prompt_tokens, &end.cached_tokens, &end.completion_tokens}) {
    *count = ReadCount(in);
  }
  for (Duration* time : {&end.queue, &end.prompt, &end.decode}) *time = ReadDuration(in);
  return Checked(in, std::move(end), "end");
}

std::string Encode(const StepReport& report) {
  ByteWriter out;
  for (const int32_t count :
       {report.answers, report.prompt_tokens, report.running, report.waiting, report.cells_booked,
        report.cells_held, report.threads, report.depth}) {
    out.Number(count);
  }
  out.Number(int64_t{report.took.count()});
  return out.Take();
}

Result<StepReport> DecodeStep(std::string_view bytes) {
  ByteReader in(bytes);
  StepReport report;
  for (int32_t* count :
       {&report.answers, &report.prompt_tokens, &report.running, &report.waiting,
        &report.cells_booked, &report.cells_held, &report.threads, &report.depth}) {
    *count = ReadCount(in);
  }
  report.took = ReadDuration(in);
  return Checked(in, report, "step");
}

std::string EncodeCancel(uint64_t id) {
  ByteWriter out;
  out.Number(id);
  return out.Take();
}

Result<uint64_t> DecodeCancel(std::string_view bytes) {
  ByteReader in(bytes);
  const auto id = in.Number<uint64_t>();
  return Checked(in, id, "cancel");
}

}  // namespace evenkeel
