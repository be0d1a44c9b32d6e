// Reads the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) from bytes that nobody
// vouches for: every length is checked before it is used, nothing is copied or allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft {

/// Walks over the fields of one message. Every accessor throws std::runtime_error naming the file, the byte and the
/// field when the field is not of the type asked for.
///
///   ProtoReader reader(bytes, "spiece.model");
///   while (reader.next()) {
///     if (reader.field() == 1) read_piece(reader.message());
///   }
class ProtoReader {
 public:
  /// `message` and `file` must outlive the reader; `offset` is where the message starts in the file, for error
  /// messages.
  ProtoReader(std::string_view message, std::string_view file, std::size_t offset = 0);

  /// Moves to the next field; false at the end. Throws when the message is cut off or malformed.
  bool next();

  std::uint32_t field() const { return field_; }       ///< number of the current field
  std::size_t offset() const { return at_field_; }     ///< where the current field starts in the file
  std::size_t payload() const { return payload_at_; }  ///< where the contents of the current field start in the file

  std::uint64_t integer() const;
  bool boolean() const { return integer() != 0; }
  float real() const;
  std::string_view bytes() const;
  ProtoReader message() const;

 private:
  enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  std::uint64_t read_varint();
  std::uint64_t read_fixed(std::size_t size);
  void expect(Wire wire) const;

  std::string_view message_, file_;
  std::size_t base_;
  std::size_t position_ = 0;
  std::size_t at_field_ = 0, payload_at_ = 0;
  std::uint32_t field_ = 0;
  Wire wire_ = Wire::varint;
  std::uint64_t integer_ = 0;
  std::string_view bytes_;
};

}  // namespace weft
