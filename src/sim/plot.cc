#include "sim/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace evenkeel::sim {
namespace {

constexpr double kWidth = 520, kHeight = 260, kLeft = 62, kRight = 12, kTop = 26, kBottom = 40;
constexpr const char* kPalette[] = {"#1f6fb4", "#d1601f", "#2f8f4e", "#b03060",
                                    "#7454a8", "#8a6d1f", "#1f9c9c", "#606060"};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void Take(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
};

// 1, 2 or 5 times a power of ten, so that about five steps span the range.
double StepOf(double span) {
  const double raw = span / 5, power = std::pow(10, std::floor(std::log10(raw)));
  const double digit = raw / power;
  return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

class Canvas {
 public:
  explicit Canvas(const Plot& plot) : plot_(plot) {
    for (const Curve& curve : plot.curves) {
      for (const auto& [x, y] : curve.points) {
        if (!Shown(x, y)) continue;
        x_.Take(x);
        y_.Take(y);
      }
    }
    if (plot.mark_x > 0) x_.Take(plot.mark_x);
    if (!(x_.low <= x_.high)) x_ = {plot.log_x ? 1.0 : 0.0, plot.log_x ? 10.0 : 1.0};
    y_.low = 0;
    y_.high = plot.y_max > 0 ? plot.y_max : y_.high > 0 ? 1.05 * y_.high : 1;
    if (x_.low == x_.high) x_.high = plot.log_x ? 10 * x_.low : x_.low + 1;
    if (plot.bars) x_.low = std::min(x_.low, 1.0) - 0.5, x_.high += 0.5;
  }

  std::string Draw() {
    svg_ = fmt::format(
        "<svg viewBox='0 0 {0} {1}' width='{0}' height='{1}' role='img' aria-label='{2}'>"
        "<text x='{3}' y='16' class='t'>{2}</text>",
        kWidth, kHeight, EscapeHtml(plot_.title), kLeft);
    Axes();
    for (const Curve& curve : plot_.curves) plot_.bars ? Bars(curve) : Line(curve);
    if (plot_.mark_x > 0)
      svg_ += fmt::format("<path d='M{0:.1f} {1}V{2}' class='m'/>", X(plot_.mark_x), kTop,
                          kHeight - kBottom);
    Legend();
    return svg_ + "</svg>";
  }

 private:
  bool Shown(double x, double y) const {
    return std::isfinite(x) && std::isfinite(y) && (!plot_.log_x || x > 0);
  }
  double X(double x) const {
    const double share = plot_.log_x ? std::log(x / x_.low) / std::log(x_.high / x_.low)
                                     : (x - x_.low) / (x_.high - x_.low);
    return kLeft + share * (kWidth - kLeft - kRight);
  }
  double Y(double y) const {
    return kHeight - kBottom - std::clamp(y / y_.high, 0.0, 1.0) * (kHeight - kTop - kBottom);
  }
  void Tick(double at, bool x_axis) {
    if (x_axis) {
      svg_ += fmt::format(
          "<path d='M{0:.1f} {1}V{2}' class='g'/><text x='{0:.1f}' y='{3}' "
          "text-anchor='middle'>{4:.4g}</text>",
          X(at), kTop, kHeight - kBottom, kHeight - kBottom + 14, at);
    } else {
      svg_ += fmt::format(
          "<path d='M{0} {1:.1f}H{2}' class='g'/><text x='{3}' y='{4:.1f}' "
          "text-anchor='end'>{5:.4g}</text>",
          kLeft, Y(at), kWidth - kRight, kLeft - 5, Y(at) + 4, at);
    }
  }
  void Axes() {
    if (plot_.log_x) {
      for (double at = std::pow(10, std::ceil(std::log10(x_.low) - 1e-9)); at <= x_.high * 1.0001;
           at *= 10)
        Tick(at, true);
    } else {
      const double step = StepOf(x_.high - x_.low);
      for (double at = std::ceil(x_.low / step) * step; at <= x_.high; at += step) Tick(at, true);
    }
    const double step = StepOf(y_.high);
    for (double at = 0; at <= y_.high * 1.0001; at += step) Tick(at, false);
    svg_ += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{}</text>",
                        (kLeft + kWidth - kRight) / 2, kHeight - 8, EscapeHtml(plot_.x_label));
    svg_ += fmt::format(
        "<text transform='translate(13 {:.1f}) rotate(-90)' text-anchor='middle'>{}</text>",
        (kTop + kHeight - kBottom) / 2, EscapeHtml(plot_.y_label));
  }
  void Line(const Curve& curve) {
    std::string path;
    for (const auto& [x, y] : curve.points) {
      if (Shown(x, y)) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', X(x), Y(y));
    }
    if (path.empty()) return;
    svg_ += fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='1.5'{}/>", path,
                        Colour(curve), curve.dashed ? " stroke-dasharray='4 3'" : "");
  }
  void Bars(const Curve& curve) {
    const double width = std::max(1.0, 0.8 * (X(x_.low + 1) - X(x_.low)));
    for (const auto& [x, y] : curve.points) {
      if (!Shown(x, y)) continue;
      svg_ += fmt::format("<rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}' fill='{}'/>",
                          X(x) - width / 2, Y(y), width, kHeight - kBottom - Y(y), Colour(curve));
    }
  }
  void Legend() {
    double at = kTop + 12;
    for (const Curve& curve : plot_.curves) {
      if (curve.label.empty()) continue;
      svg_ += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end' fill='{}'>{}{}</text>",
                          kWidth - kRight - 6, at, Colour(curve), curve.dashed ? "- - " : "",
                          EscapeHtml(curve.label));
      at += 13;
    }
  }
  static const char* Colour(const Curve& curve) {
    return kPalette[static_cast<size_t>(curve.colour) % std::size(kPalette)];
  }

  const Plot& plot_;
  Range x_, y_;
  std::string svg_;
};

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '\'': escaped += "&#39;"; break;
      case '"': escaped += "&quot;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

std::string Svg(const Plot& plot) { return Canvas(plot).Draw(); }

}  // namespace evenkeel::sim
