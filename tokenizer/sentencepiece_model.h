// What a SentencePiece `.model` file says: the pieces with scores and types, and the settings that decide how text is
// cut. The file is the protobuf message ModelProto of sentencepiece_model.proto; only the fields below matter to a
// reader.
#pragma once

#include "tokenizer/piece_trie.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace weft {

enum class PieceType : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

enum class SegmentationType : std::uint8_t { unigram = 1, bpe = 2 };

struct SentencePieceModel {
  struct Piece {
    std::string_view text;
    float score = 0;
    PieceType type = PieceType::normal;
    std::size_t offset = 0;  ///< where the piece starts in the file
  };

  struct Normalizer {
    std::string_view charsmap;        ///< precompiled rules, empty for none (see TextNormalizer)
    std::size_t charsmap_offset = 0;  ///< where they start in the file
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;
    bool whitespace_as_suffix = false;  ///< the dummy space goes to the end of the text
  };

  SegmentationType type = SegmentationType::unigram;
  std::vector<Piece> pieces;
  Normalizer normalizer;    ///< applied to text before it is cut
  Normalizer denormalizer;  ///< applied to decoded text where it has a charsmap
  bool byte_fallback = false;
  std::string_view unk_surface = " \xe2\x81\x87 ";  ///< what the unknown piece decodes to
  std::string_view bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
};

/// Reads a model; the result points into `bytes`. `file` names it in errors. Throws std::runtime_error when the bytes
/// are no such message, when the model is neither of the unigram nor of the BPE type, or when a piece is empty, holds a
/// zero byte, or has a score that is not finite.
SentencePieceModel read_sentencepiece_model(std::string_view bytes, std::string_view file);

/// The pieces that can be found in text (normal, user-defined and unused ones) with their ids. Throws
/// std::runtime_error naming `file` when two of them are the same or there are none.
PieceTrie text_pieces(const SentencePieceModel& model, std::string_view file);

}  // namespace weft
