#include "tokenizer/sentencepiece_model.h"

#include "tensor/check.h"
#include "tokenizer/protobuf.h"

#include <cmath>

namespace weft {
namespace {

SentencePieceModel::Piece read_piece(ProtoReader reader, std::size_t number, std::string_view file) {
  SentencePieceModel::Piece piece;
  piece.offset = reader.offset();
  while (reader.next()) {
    switch (reader.field()) {
      case 1: piece.text = reader.bytes(); break;
      case 2: piece.score = reader.real(); break;
      case 3: {
        const std::uint64_t type = reader.integer();
        check_input(type >= 1 && type <= 6, "{}: byte {}: expected a type from 1 to 6 in piece {}, found {}", file,
                    reader.offset(), number, type);
        piece.type = static_cast<PieceType>(type);
        break;
      }
      default: break;
    }
  }
  check_input(!piece.text.empty(), "{}: byte {}: expected text in piece {}, found none", file, piece.offset, number);
  check_input(piece.text.find('\0') == std::string_view::npos,
              "{}: byte {}: expected text in piece {}, found a zero byte", file, piece.offset, number);
  check_input(std::isfinite(piece.score), "{}: byte {}: expected a finite score in piece {}, found {}", file,
              piece.offset, number, piece.score);
  return piece;
}

SegmentationType read_model_type(const ProtoReader& reader, std::string_view file) {
  const std::uint64_t type = reader.integer();
  const char* const names[] = {"", "unigram", "BPE", "word", "char"};
  check_input(type == 1 || type == 2, "{}: byte {}: expected model type unigram or BPE, found {}", file,
              reader.offset(), type < std::size(names) && type > 0 ? names[type] : fmt::format("{}", type));
  return static_cast<SegmentationType>(type);
}

void read_trainer_spec(ProtoReader reader, SentencePieceModel& model, std::string_view file) {
  while (reader.next()) {
    switch (reader.field()) {
      case 3: model.type = read_model_type(reader, file); break;
      case 24: model.normalizer.whitespace_as_suffix = reader.boolean(); break;
      case 35: model.byte_fallback = reader.boolean(); break;
      case 44: model.unk_surface = reader.bytes(); break;
      case 46: model.bos_piece = reader.bytes(); break;
      case 47: model.eos_piece = reader.bytes(); break;
      case 48: model.pad_piece = reader.bytes(); break;
      default: break;
    }
  }
}

void read_normalizer_spec(ProtoReader reader, SentencePieceModel::Normalizer& normalizer) {
  while (reader.next()) {
    switch (reader.field()) {
      case 2:
        normalizer.charsmap = reader.bytes();
        normalizer.charsmap_offset = reader.payload();
        break;
      case 3: normalizer.add_dummy_prefix = reader.boolean(); break;
      case 4: normalizer.remove_extra_whitespaces = reader.boolean(); break;
      case 5: normalizer.escape_whitespaces = reader.boolean(); break;
      default: break;
    }
  }
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view bytes, std::string_view file) {
  SentencePieceModel model;
  ProtoReader reader(bytes, file);
  while (reader.next()) {
    switch (reader.field()) {
      case 1: model.pieces.push_back(read_piece(reader.message(), model.pieces.size(), file)); break;
      case 2: read_trainer_spec(reader.message(), model, file); break;
      case 3: read_normalizer_spec(reader.message(), model.normalizer); break;
      case 5: read_normalizer_spec(reader.message(), model.denormalizer); break;
      default: break;
    }
  }
  check_input(!model.pieces.empty(), "{}: byte {}: expected a SentencePiece model, found no pieces", file,
              bytes.size());
  return model;
}

PieceTrie text_pieces(const SentencePieceModel& model, std::string_view file) {
  PieceTrie trie;
  for (int id = 0; const auto& piece : model.pieces) {
    if (piece.type == PieceType::normal || piece.type == PieceType::user_defined || piece.type == PieceType::unused) {
      const int before = trie.insert(piece.text, id);
      check_input(before < 0, "{}: byte {}: expected a new text in piece {}, found that of piece {} again", file,
                  piece.offset, id, before);
    }
    ++id;
  }
  check_input(!trie.empty(), "{}: expected pieces that text can hold, found none in {} pieces", file,
              model.pieces.size());
  return trie;
}

}  // namespace weft
