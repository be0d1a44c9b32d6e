// Comma-separated values as RFC 4180 has them, in UTF-8: quoted fields may hold commas, line breaks and doubled quotes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// Reads one record at a time in bounded memory. The first record is the header. Lines end with LF, CRLF or CR; a byte
/// order mark and blank lines between records are skipped. Whatever is no CSV (a record with another number of fields
/// than the header, an unclosed quote, text after a closing quote, a bare quote, a NUL byte, invalid UTF-8, a record
/// above 1 MiB) throws std::runtime_error naming the file, the row (1 = the first after the header) and the line.
class CsvReader {
 public:
  explicit CsvReader(const std::filesystem::path& file);

  const std::vector<std::string>& header() const { return header_; }

  /// Index of the column of that name; throws naming the file and the columns it has.
  size_t column(std::string_view name) const;

  /// Reads the next record; false at the end of the file. The fields are valid until the next call.
  bool next();
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t field) const {
    size_t begin = field == 0 ? 0 : ends_[field - 1];
    return std::string_view(text_).substr(begin, ends_[field] - begin);
  }

  int64_t row() const { return row_; }
  /// "FILE: row 3 (line 5)", to begin an error with.
  std::string place() const;
  const std::filesystem::path& file() const { return file_; }

 private:
  bool read_record();
  int get();
  int peek();
  bool refill();

  std::filesystem::path file_;
  std::ifstream stream_;
  std::vector<char> block_;
  size_t at_ = 0, end_ = 0;
  std::string text_;          // the fields of the current record, one after another
  std::vector<size_t> ends_;  // where each of them ends in text_
  std::vector<std::string> header_;
  int64_t row_ = 0, line_ = 1, record_line_ = 1;
};

/// Writes records with LF line ends, quoting only the fields that need it.
class CsvWriter {
 public:
  /// Creates or truncates the file; throws std::runtime_error naming it if that fails.
  explicit CsvWriter(const std::filesystem::path& file);
  void write(const std::vector<std::string_view>& fields);
  /// Flushes and closes; throws if anything could not be written (disk full).
  void close();

 private:
  std::filesystem::path file_;
  std::ofstream stream_;
  std::string line_;
};

}  // namespace weft
