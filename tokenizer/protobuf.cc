#include "tokenizer/protobuf.h"

#include "tensor/check.h"

#include <bit>

namespace weft {
namespace {

const char* name_of(int wire) {
  switch (wire) {
    case 0: return "a varint";
    case 1: return "8 bytes";
    case 2: return "a length and bytes";
    default: return "4 bytes";
  }
}

}  // namespace

ProtoReader::ProtoReader(std::string_view message, std::string_view file, std::size_t offset)
    : message_(message), file_(file), base_(offset), at_field_(offset), payload_at_(offset) {}

bool ProtoReader::next() {
  if (position_ == message_.size()) return false;
  at_field_ = base_ + position_;
  const std::uint64_t tag = read_varint();
  const std::uint64_t number = tag >> 3;
  check_input(number >= 1 && number < (1u << 29),
              "{}: byte {}: expected a protobuf field number from 1 to 536870911, found {}", file_, at_field_, number);
  field_ = static_cast<std::uint32_t>(number);
  const int wire = static_cast<int>(tag & 7);
  check_input(wire == 0 || wire == 1 || wire == 2 || wire == 5,
              "{}: byte {}: expected protobuf wire type 0, 1, 2 or 5, found {} in field {}", file_, at_field_, wire,
              field_);
  wire_ = static_cast<Wire>(wire);
  payload_at_ = base_ + position_;
  switch (wire_) {
    case Wire::varint: integer_ = read_varint(); break;
    case Wire::fixed64: integer_ = read_fixed(8); break;
    case Wire::fixed32: integer_ = read_fixed(4); break;
    case Wire::bytes: {
      const std::uint64_t size = read_varint();
      const std::size_t left = message_.size() - position_;
      payload_at_ = base_ + position_;
      check_input(size <= left, "{}: byte {}: expected {} bytes in field {}, found {} before the end", file_,
                  payload_at_, size, field_, left);
      bytes_ = message_.substr(position_, size);
      position_ += size;
      break;
    }
  }
  return true;
}

std::uint64_t ProtoReader::integer() const {
  expect(Wire::varint);
  return integer_;
}

float ProtoReader::real() const {
  expect(Wire::fixed32);
  return std::bit_cast<float>(static_cast<std::uint32_t>(integer_));
}

std::string_view ProtoReader::bytes() const {
  expect(Wire::bytes);
  return bytes_;
}

ProtoReader ProtoReader::message() const {
  expect(Wire::bytes);
  return ProtoReader(bytes_, file_, payload_at_);
}

std::uint64_t ProtoReader::read_varint() {
  const std::size_t start = position_;
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    check_input(position_ < message_.size(), "{}: byte {}: expected a protobuf varint, found the end after {} bytes",
                file_, base_ + start, position_ - start);
    const auto byte = static_cast<unsigned char>(message_[position_++]);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail("{}: byte {}: expected a protobuf varint of at most 10 bytes, found a longer one", file_, base_ + start);
}

std::uint64_t ProtoReader::read_fixed(std::size_t size) {
  check_input(message_.size() - position_ >= size,
              "{}: byte {}: expected {} bytes in field {}, found {} before the end", file_, base_ + position_, size,
              field_, message_.size() - position_);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(message_[position_++])) << (8 * i);
  }
  return value;
}

void ProtoReader::expect(Wire wire) const {
  check_input(wire_ == wire, "{}: byte {}: expected {} in field {}, found {}", file_, at_field_,
              name_of(static_cast<int>(wire)), field_, name_of(static_cast<int>(wire_)));
}

}  // namespace weft
