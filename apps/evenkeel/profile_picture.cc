#include "profile_picture.h"

#include <string_view>
#include <vector>

#include "core/format.h"
#include "profile_chart.h"

namespace evenkeel {
namespace {

using Sign = LegendEntry::Sign;

constexpr double kMargin = 32, kGap = 24;  // around everything; between charts
constexpr double kTextWidth = 2 * kChartWidth + kGap;
constexpr double kPixelsPerUnit = 2;  // sharp on a dense screen and in print

constexpr const char* kPictureStyle =
    "text{font-family:'DejaVu Sans',sans-serif;fill:#222}.model{font-size:22px;font-weight:600}"
    ".fact{font-size:12px;fill:#666}.choice{font-size:13px}.lead{font-weight:600}"
    ".entry{font-size:12px}";

// Width of `text` in DejaVu Sans, rather too much than too little: SVG breaks no lines by itself.
double WidthOf(std::string_view text, double size) {
  double ems = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // goes on with a character that was counted
    if (std::string_view("ijl.,:;'|!()[]/ ").find(c) != std::string_view::npos) {
      ems += 0.38;
    } else if (std::string_view("mwMW%@").find(c) != std::string_view::npos || byte >= 0x80) {
      ems += 1;
    } else {
      ems += c >= 'A' && c <= 'Z' ? 0.72 : 0.63;
    }
  }
  return ems * size;
}

// Lines no wider than `width`, broken at spaces, and in a word that is wider by itself.
std::vector<std::string> Wrapped(std::string_view text, double size, double width) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(' ', 1));
    while (WidthOf(word, size) > width) {
      word.remove_suffix(1);
      while (!word.empty() && (static_cast<unsigned char>(text[word.size()]) & 0xC0) == 0x80)
        word.remove_suffix(1);  // not within a character
    }
    if (!lines.back().empty() && WidthOf(lines.back() + std::string(word), size) > width)
      lines.emplace_back();
    text.remove_prefix(word.size());
    if (lines.back().empty() && word.starts_with(' ')) word.remove_prefix(1);
    lines.back() += word;
  }
  return lines;
}

// Lays one thing below the other.
class Sheet {
 public:
  // `lead` begins the first line, in bold.
  void Paragraph(const char* css, double size, std::string_view lead, std::string_view text) {
    constexpr double kBoldIsWider = 1.15;
    const double indent = lead.empty() ? 0 : WidthOf(lead, size) * kBoldIsWider;
    bool first = true;
    for (const std::string& line : Wrapped(text, size, kTextWidth - indent)) {
      down_ += 1.45 * size;
      svg_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{:.1f}\">", css, kMargin, down_);
      if (first && !lead.empty())
        svg_ += fmt::format("<tspan class=\"lead\">{}</tspan> ", Escaped(lead));
      svg_ += Escaped(line) + "</text>\n";
      first = false;
    }
  }
  void Skip(double units) { down_ += units; }

  void Legend(const std::vector<LegendEntry>& legend) {
    constexpr double kSize = 12, kSign = 22, kBetween = 22, kLine = 22;
    down_ += kLine;
    double right = kMargin;
    for (const LegendEntry& entry : legend) {
      const double width = kSign + WidthOf(entry.text, kSize);
      if (right > kMargin && right + width > kMargin + kTextWidth) {
        right = kMargin;
        down_ += kLine;
      }
      svg_ += SignSvg(entry, right, down_ - 4);
      svg_ += fmt::format("<text class=\"entry\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                          right + kSign, down_, Escaped(entry.text));
      right += width + kBetween;
    }
  }

  void Charts(const std::vector<DrawnChart>& charts) {
    for (size_t i = 0; i < charts.size(); ++i) {
      const double x = kMargin + (i % 2 == 0 ? 0 : kChartWidth + kGap);
      if (i > 0 && i % 2 == 0) down_ += kChartHeight + kGap;
      svg_ += fmt::format("<g transform=\"translate({:.1f} {:.1f})\">\n{}</g>\n", x, down_,
                          charts[i].svg);
    }
    down_ += kChartHeight;
  }

  std::string Document() const {
    const double width = kTextWidth + 2 * kMargin, height = down_ + kMargin;
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" "
        "viewBox=\"0 0 {:.1f} {:.1f}\">\n<style>{}{}</style>\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
        width * kPixelsPerUnit, height * kPixelsPerUnit, width, height, kPictureStyle, kChartStyle,
        svg_);
  }

 private:
  // In a space of 14 units from `x`, around the height `y`.
  static std::string SignSvg(const LegendEntry& entry, double x, double y) {
    const auto line = [&](std::string_view how) {
      return fmt::format("<path d=\"M{:.1f} {:.1f}h14\" {}/>", x, y, how);
    };
    const auto ring = [&](std::string_view css) {
      return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"6\"/>", css, x + 7,
                         y);
    };
    switch (entry.sign) {
      case Sign::kLine: return line(fmt::format("stroke=\"{}\" stroke-width=\"4\"", entry.colour));
      case Sign::kThinLine: return line("stroke=\"#888\"");
      case Sign::kObjective: return ring("chosen");
      case Sign::kMethod: return ring("method");
      case Sign::kThreshold: return line("class=\"mark\" stroke-width=\"2\"");
    }
    return {};
  }

  double down_ = kMargin - 8;  // where the last thing ends
  std::string svg_;
};

}  // namespace

std::string PlotPicture(const ProfileReport& report, double threshold) {
  const PlotContent content = ContentOf(report, threshold);
  Sheet sheet;
  sheet.Paragraph("model", 22, "", content.model);
  sheet.Skip(6);
  for (const std::string& fact : content.facts) sheet.Paragraph("fact", 12, "", fact);
  sheet.Skip(6);
  for (const auto& [lead, text] : content.choices) sheet.Paragraph("choice", 13, lead, text);
  sheet.Skip(6);
  sheet.Legend(content.legend);
  sheet.Skip(18);
  sheet.Charts(content.charts);
  return sheet.Document();
}

}  // namespace evenkeel
