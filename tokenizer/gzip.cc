#include "tokenizer/gzip.h"

#include "tensor/check.h"

#include <zlib.h>

#include <limits>
#include <memory>

namespace weft {

std::string unpack_gzip(std::string_view bytes, std::string_view file, std::size_t limit) {
  check_input(bytes.size() <= std::numeric_limits<uInt>::max(), "{}: expected less than 4 GiB, found {} bytes", file,
              bytes.size());
  z_stream stream{};
  constexpr int gzip_window = 16 + MAX_WBITS;
  check_input(inflateInit2(&stream, gzip_window) == Z_OK, "{}: zlib does not start", file);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  char block[1 << 15];
  for (int status = Z_OK; status != Z_STREAM_END;) {
    stream.next_out = reinterpret_cast<Bytef*>(block);
    stream.avail_out = sizeof block;
    status = inflate(&stream, Z_NO_FLUSH);
    check_input(status == Z_OK || status == Z_STREAM_END, "{}: byte {}: expected gzip data, found {}", file,
                stream.total_in, stream.msg ? stream.msg : stream.avail_in == 0 ? "the end" : "something else");
    out.append(block, sizeof block - stream.avail_out);
    check_input(out.size() <= limit, "{}: expected at most {} bytes unpacked, found more", file, limit);
  }
  return out;
}

}  // namespace weft
