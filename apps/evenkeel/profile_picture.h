// A load table as one picture: the page's charts two by two, below the model, the machine, the choices in words and the legend.
//
// Contract: one SVG document of fixed size that refers to nothing outside itself; to be turned into pixels by RenderPng().
// Thread-safety: pure.
#pragma once

#include <string>

#include "profile_print.h"

namespace evenkeel {

std::string PlotPicture(const ProfileReport& report, double threshold);

}  // namespace evenkeel
