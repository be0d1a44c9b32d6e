#include "data/jpeg.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE
#include <string>

#include <jerror.h>
#include <jpeglib.h>

#include "tensor/check.h"

namespace weft {
namespace {

constexpr int max_scans = 100;

/// libjpeg reports through functions that must not return, or return a warning: both jump back to decode_jpeg.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void jump_back(j_common_ptr info) {
  auto* const errors = reinterpret_cast<ErrorManager*>(info->err);
  errors->base.format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}

/// Lost data is an error; what libjpeg skips without loss (bytes between segments) is not.
void judge_warning(j_common_ptr info, int level) {
  if (level >= 0) return;
  const int code = info->err->msg_code;
  if (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_JPEG_EOF || code == JWRN_MUST_RESYNC ||
      code == JWRN_BOGUS_PROGRESSION || code == JWRN_NOT_SEQUENTIAL) {
    jump_back(info);
  }
}

void count_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > max_scans) {
    info->err->msg_code = JERR_BAD_PROGRESSION;
    jump_back(info);
  }
}

/// Rows of the file's own channels, [height, width, channels]; false and a message where libjpeg gave up. Nothing here
/// has a destructor, which a jump would skip.
bool decode_rows(const std::vector<uint8_t>& bytes, const ImageHeader& header, uint8_t* rows, char* message) {
  jpeg_decompress_struct info;
  ErrorManager errors;
  jpeg_progress_mgr progress{};
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = jump_back;
  errors.base.emit_message = judge_warning;
  jpeg_create_decompress(&info);
  if (setjmp(errors.back)) {
    std::copy_n(errors.message, sizeof errors.message, message);
    jpeg_destroy_decompress(&info);
    return false;
  }
  progress.progress_monitor = count_scans;
  info.progress = &progress;
  jpeg_mem_src(&info, bytes.data(), bytes.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = header.channels == 1 ? JCS_GRAYSCALE : header.channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_start_decompress(&info);
  const bool as_announced = info.output_width == static_cast<JDIMENSION>(header.width) &&
                            info.output_height == static_cast<JDIMENSION>(header.height) &&
                            info.output_components == header.channels;
  if (!as_announced) ERREXIT(&info, JERR_IMAGE_TOO_BIG);
  const size_t stride = static_cast<size_t>(header.width) * header.channels;
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = rows + info.output_scanline * stride;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return true;
}

/// a * b / 255, rounded as PIL does it.
int multiplied(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

}  // namespace

Image decode_jpeg(const std::vector<uint8_t>& bytes, const ImageHeader& header, std::string_view name) {
  Image image(header.height, header.width);
  const size_t pixels = static_cast<size_t>(header.height) * header.width;
  std::vector<uint8_t> own_rows(header.channels == 3 ? 0 : pixels * header.channels);
  char message[JMSG_LENGTH_MAX] = {};
  const bool whole = decode_rows(bytes, header, header.channels == 3 ? image.pixels.data() : own_rows.data(), message);
  check_input(whole, "{}: corrupt JPEG: {}", name, message);
  if (header.channels == 1) {
    for (size_t i = 0; i < pixels; ++i) std::fill_n(&image.pixels[3 * i], 3, own_rows[i]);
  } else if (header.channels == 4) {
    // Adobe's bytes are 255 for no ink.
    for (size_t i = 0; i < pixels; ++i) {
      const uint8_t* const cmyk = &own_rows[4 * i];
      for (int c = 0; c < 3; ++c)
        image.pixels[3 * i + c] = static_cast<uint8_t>(cmyk[3] - multiplied(255 - cmyk[c], cmyk[3]));
    }
  }
  return image;
}

}  // namespace weft
