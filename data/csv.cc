#include "data/csv.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "data/utf8.h"
#include "tensor/atomic_file.h"
#include "tensor/check.h"

namespace weft {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
// An unclosed quote would otherwise swallow the rest of a large file before it is noticed.
constexpr size_t kRecordBytes = 1 << 20;
constexpr int kEnd = -1;

// Bytes that end a run of plain ones: [0] outside quotes, [1] inside.
constexpr auto kSpecial = [] {
  std::array<std::array<bool, 256>, 2> special{};
  for (unsigned char c : {'"', ',', '\r', '\n', '\0'}) special[0][c] = true;
  for (unsigned char c : {'"', '\n', '\0'}) special[1][c] = true;
  return special;
}();

}  // namespace

CsvReader::CsvReader(const std::filesystem::path& file)
    : file_(file), stream_(file, std::ios::binary), block_(kBlockBytes) {
  check_input(stream_.is_open(), "{}: cannot be opened: {}", file.string(), std::strerror(errno));
  check_input(std::filesystem::is_regular_file(file), "{}: is not a file", file.string());
  refill();
  if (end_ >= 3 && std::memcmp(block_.data(), "\xEF\xBB\xBF", 3) == 0) at_ = 3;
  check_input(read_record(), "{}: is empty: a header line was expected", file.string());
  for (size_t i = 0; i < size(); ++i) {
    header_.emplace_back((*this)[i]);
    for (size_t j = 0; j < i; ++j)
      check_input(header_[j] != header_[i], "{}: header: column {} is there twice", file.string(), quote(header_[i]));
  }
}

size_t CsvReader::column(std::string_view name) const {
  std::string all;
  for (size_t i = 0; i < header_.size(); ++i) {
    if (header_[i] == name) return i;
    all += (i ? "," : "") + quote(header_[i]);
  }
  if (all.size() > 200) all = all.substr(0, all.find_last_of(',', 200)) + ",...";
  fail("{}: header: column \"{}\" is missing; it has {}", file_.string(), name, all);
}

bool CsvReader::next() {
  if (!read_record()) return false;
  ++row_;
  check_input(size() == header_.size(), "{}: {} fields where the header has {}", place(), size(), header_.size());
  return true;
}

std::string CsvReader::place() const {
  if (row_ == 0) return fmt::format("{}: header (line {})", file_.string(), record_line_);
  return fmt::format("{}: row {} (line {})", file_.string(), row_, record_line_);
}

bool CsvReader::refill() {
  stream_.read(block_.data(), static_cast<std::streamsize>(block_.size()));
  at_ = 0;
  end_ = static_cast<size_t>(stream_.gcount());
  check_input(!stream_.bad(), "{}: cannot be read: {}", file_.string(), std::strerror(errno));
  return end_ > 0;
}

int CsvReader::peek() {
  if (at_ == end_ && !refill()) return kEnd;
  return static_cast<unsigned char>(block_[at_]);
}

int CsvReader::get() {
  int c = peek();
  if (c != kEnd) ++at_;
  return c;
}

bool CsvReader::read_record() {
  text_.clear();
  ends_.clear();
  while (peek() == '\n' || peek() == '\r')
    if (get() == '\n') ++line_;
  if (peek() == kEnd) return false;
  record_line_ = line_;
  // Errors name the record being read, which row_ does not count yet.
  auto require = [&](bool ok, const char* what) {
    if (ok) return;
    if (!header_.empty()) ++row_;
    fail("{}: field {}: {}", place(), ends_.size() + 1, what);
  };
  bool quoted = false, closed = false;
  for (bool done = false; !done;) {
    // The run of plain bytes first: nearly all of a file.
    const auto& special = kSpecial[quoted];
    while (peek() != kEnd) {
      size_t from = at_;
      while (at_ < end_ && !special[static_cast<unsigned char>(block_[at_])]) ++at_;
      if (at_ > from) {
        require(!closed, "text after a closing quote");
        text_.append(block_.data() + from, at_ - from);
        require(text_.size() <= kRecordBytes, quoted ? "no closing quote within 1 MiB" : "the record is above 1 MiB");
      }
      if (at_ < end_) break;
    }
    size_t begin = ends_.empty() ? 0 : ends_.back();
    int c = get();
    require(c != 0, "a NUL byte");
    if (quoted) {
      require(c != kEnd, "the quote is never closed");
      if (c == '\n') {
        ++line_;
        text_ += '\n';
      } else if (peek() == '"') {
        get();
        text_ += '"';
      } else {
        quoted = false;
        closed = true;
      }
      continue;
    }
    if (c == '"') {
      require(!closed && text_.size() == begin, "a quote inside a field that does not begin with one");
      quoted = true;
      continue;
    }
    // A comma, a line end or the end of the file ends the field. The LF of a CRLF is passed over as a blank line is.
    size_t bad = find_invalid_utf8(std::string_view(text_).substr(begin));
    if (bad != std::string_view::npos) require(false, "invalid UTF-8");
    ends_.push_back(text_.size());
    closed = false;
    if (c != ',') {
      if (c == '\n') ++line_;
      done = true;
    }
  }
  return true;
}

CsvWriter::CsvWriter(const std::filesystem::path& file) : file_(file), stream_(file, std::ios::binary) {
  check_input(stream_.is_open(), "{}: cannot be written: {}", file.string(), std::strerror(errno));
}

void CsvWriter::write(const std::vector<std::string_view>& fields) {
  line_.clear();
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i) line_ += ',';
    // A record of one empty field would read back as a blank line.
    bool quote =
        fields[i].find_first_of("\",\r\n") != std::string_view::npos || (fields.size() == 1 && fields[i].empty());
    if (!quote) {
      line_ += fields[i];
      continue;
    }
    line_ += '"';
    for (char c : fields[i]) line_ += c == '"' ? "\"\"" : std::string_view(&c, 1);
    line_ += '"';
  }
  line_ += '\n';
  stream_ << line_;
}

void CsvWriter::close() {
  stream_.close();
  check_input(!stream_.fail(), "{}: cannot be written: {}", file_.string(), std::strerror(errno));
}

}  // namespace weft
