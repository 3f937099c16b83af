// evenkeel-svg-png: reads an SVG document on stdin, writes it as a PNG picture to stdout.
//
// Use for: `evenkeel profile --plot FILE.png`, which starts it; a program of its own, so that `evenkeel` links no graphics library.
// Contract: the picture has the size that the document says, in pixels. Nothing that the document refers to is loaded. Exit code 0 and a whole
//   picture, or 1, a line on stderr, and what is on stdout is of no use.
#include <fontconfig/fontconfig.h>
#include <librsvg/rsvg.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

namespace {

constexpr size_t kMostBytes = size_t{64} << 20;
constexpr double kMostPixels = 16'384;  // each way

// Libraries end their messages as they like; this is one line.
int Fail(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  std::fprintf(stderr, "%s\n", text.c_str());
  return 1;
}

bool ReadStdin(std::string* document) {
  char buffer[65'536];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
    document->append(buffer, n);
    if (document->size() > kMostBytes) return false;
  }
  return std::ferror(stdin) == 0;
}

// Without any font all texts would be left out, silently.
bool AnyFont() {
  FcPattern* all = FcPatternCreate();
  FcObjectSet* names = FcObjectSetBuild(FC_FAMILY, static_cast<char*>(nullptr));
  FcFontSet* fonts = FcFontList(nullptr, all, names);
  const bool any = fonts != nullptr && fonts->nfont > 0;
  if (fonts != nullptr) FcFontSetDestroy(fonts);
  FcObjectSetDestroy(names);
  FcPatternDestroy(all);
  return any;
}

cairo_status_t ToStdout(void*, const unsigned char* data, unsigned int length) {
  return std::fwrite(data, 1, length, stdout) == length ? CAIRO_STATUS_SUCCESS
                                                        : CAIRO_STATUS_WRITE_ERROR;
}

int Draw(RsvgHandle* document) {
  double width = 0, height = 0;
  if (!rsvg_handle_get_intrinsic_size_in_pixels(document, &width, &height))
    return Fail("the document does not say its size in pixels");
  if (!(width >= 1 && height >= 1 && width <= kMostPixels && height <= kMostPixels))
    return Fail("the document's size is out of range: 1 to 16384 pixels each way");
  cairo_surface_t* surface = cairo_image_surface_create(
      CAIRO_FORMAT_ARGB32, static_cast<int>(std::ceil(width)), static_cast<int>(std::ceil(height)));
  cairo_t* cairo = cairo_create(surface);
  const RsvgRectangle whole{0, 0, width, height};
  GError* error = nullptr;
  int code = 0;
  if (!rsvg_handle_render_document(document, cairo, &whole, &error)) {
    code = Fail(std::string("the document cannot be drawn: ") + error->message);
    g_error_free(error);
  } else if (const cairo_status_t status =
                 cairo_surface_write_to_png_stream(surface, ToStdout, nullptr);
             status != CAIRO_STATUS_SUCCESS) {
    code = Fail(std::string("the picture cannot be written: ") + cairo_status_to_string(status));
  } else if (std::fflush(stdout) != 0) {
    code = Fail("the picture cannot be written");
  }
  cairo_destroy(cairo);
  cairo_surface_destroy(surface);
  return code;
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) return Fail("usage: evenkeel-svg-png <FILE.svg >FILE.png");
  std::string document;
  if (!ReadStdin(&document)) return Fail("the document cannot be read, or has more than 64 MiB");
  if (!AnyFont()) return Fail("no font is installed");
  GError* error = nullptr;
  RsvgHandle* handle = rsvg_handle_new_from_data(reinterpret_cast<const guint8*>(document.data()),
                                                 document.size(), &error);
  if (handle == nullptr) {
    const int code = Fail(std::string("no SVG document: ") + error->message);
    g_error_free(error);
    return code;
  }
  const int code = Draw(handle);
  g_object_unref(handle);
  return code;
}
