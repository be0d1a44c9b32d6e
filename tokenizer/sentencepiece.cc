#include "tokenizer/sentencepiece.h"

#include "tensor/check.h"
#include "tokenizer/model_file.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

namespace weft {
namespace {

constexpr std::string_view space_symbol = "\xe2\x96\x81";  // U+2581

// The byte that a piece like <0x0A> stands for.
std::optional<unsigned char> byte_of(std::string_view piece) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  const auto high = digits.find(piece[3]), low = digits.find(piece[4]);
  if (high == digits.npos || low == digits.npos) return std::nullopt;
  return static_cast<unsigned char>(16 * high + low);
}

void append_bytes_as_text(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    const std::size_t length = utf8_valid_length(bytes);
    out += length ? bytes.substr(0, length) : replacement_character;
    bytes.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

SentencePiece SentencePiece::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "spiece.model" : path;
  return parse(read_model_file(file, "a SentencePiece model"), file.string());
}

SentencePiece SentencePiece::parse(std::string_view bytes, std::string_view file) {
  const SentencePieceModel model = read_sentencepiece_model(bytes, file);
  SentencePiece sp;
  sp.read_pieces(model, file);
  sp.unk_surface_ = model.unk_surface;
  sp.byte_fallback_ = model.byte_fallback;
  if (model.type == SegmentationType::bpe) {
    sp.segmentation_ = Bpe(model, file);
  } else {
    sp.segmentation_ = Unigram(model, file);
  }

  PieceTrie user_defined;
  for (int id = 0; const auto& piece : model.pieces) {
    if (piece.type == PieceType::user_defined) user_defined.insert(piece.text, id);
    ++id;
  }
  sp.normalizer_ = TextNormalizer(model.normalizer, std::move(user_defined), file);
  sp.denormalizer_ = TextNormalizer(model.denormalizer, {}, file);
  sp.denormalize_ = !model.denormalizer.charsmap.empty();
  sp.strip_every_first_space_ = model.normalizer.remove_extra_whitespaces;
  sp.strip_first_space_ = model.normalizer.add_dummy_prefix;
  return sp;
}

void SentencePiece::read_pieces(const SentencePieceModel& model, std::string_view file) {
  byte_ids_.fill(-1);
  std::unordered_map<std::string_view, int> reserved;
  for (int id = 0; const auto& piece : model.pieces) {
    texts_ += piece.text;
    text_ends_.push_back(static_cast<std::uint32_t>(texts_.size()));
    scores_.push_back(piece.score);
    types_.push_back(piece.type);
    const bool is_reserved =
        piece.type == PieceType::unknown || piece.type == PieceType::control || piece.type == PieceType::byte;
    const bool is_new = !is_reserved || reserved.emplace(piece.text, id).second;
    check_input(is_new, "{}: byte {}: expected a new text in piece {}, found that of piece {} again", file,
                piece.offset, id, reserved[piece.text]);
    if (piece.type == PieceType::unknown) {
      check_input(unk_id_ < 0, "{}: byte {}: expected one unknown piece, found pieces {} and {}", file, piece.offset,
                  unk_id_, id);
      unk_id_ = id;
    }
    if (piece.type == PieceType::byte) {
      const auto byte = byte_of(piece.text);
      check_input(byte && model.byte_fallback, "{}: byte {}: expected {}, found byte piece {}", file, piece.offset,
                  byte ? "no byte pieces without byte fallback" : "a text from <0x00> to <0xFF>", id);
      byte_ids_[*byte] = id;
    }
    ++id;
  }
  check_input(unk_id_ >= 0, "{}: expected an unknown piece, found none in {} pieces", file, size());
  const auto missing = std::find(byte_ids_.begin(), byte_ids_.end(), -1);
  check_input(!model.byte_fallback || missing == byte_ids_.end(),
              "{}: expected 256 byte pieces, found none for byte {}", file, missing - byte_ids_.begin());

  const auto control = [&](std::string_view text) {
    const auto found = reserved.find(text);
    return found != reserved.end() && types_[found->second] == PieceType::control ? found->second : -1;
  };
  bos_id_ = control(model.bos_piece);
  eos_id_ = control(model.eos_piece);
  pad_id_ = control(model.pad_piece);
}

std::vector<Segment> SentencePiece::segment_from_end(std::string_view normalized) const {
  return std::visit([&](const auto& segmentation) { return segmentation.segment_from_end(normalized); }, segmentation_);
}

std::vector<int> SentencePiece::encode(std::string_view text) const {
  const std::string normalized = normalizer_(text);
  std::vector<int> ids;
  ids.reserve(normalized.size() / 3 + 8);
  // Backwards. A run of unknown characters becomes one unknown piece, or the bytes of each character.
  for (const auto& [start, size, id] : segment_from_end(normalized)) {
    if (id != Segment::unknown) {
      ids.push_back(id);
    } else if (byte_fallback_) {
      for (std::uint32_t i = start + size; i > start; --i) {
        ids.push_back(byte_ids_[static_cast<unsigned char>(normalized[i - 1])]);
      }
    } else if (ids.empty() || ids.back() != unk_id_) {
      ids.push_back(unk_id_);
    }
  }
  std::reverse(ids.begin(), ids.end());
  return ids;
}

std::vector<SentencePiece::Token> SentencePiece::encode_tokens(std::string_view text) const {
  const std::string normalized = normalizer_(text);
  std::vector<Segment> segments = segment_from_end(normalized);
  std::vector<Token> tokens;
  tokens.reserve(segments.size());
  for (std::size_t i = segments.size(); i-- > 0;) {
    const auto& [start, size, id] = segments[i];
    const std::string_view surface = std::string_view(normalized).substr(start, size);
    if (id != Segment::unknown) {
      tokens.push_back({id, std::string(piece(id))});
    } else if (byte_fallback_) {
      for (const char c : surface) {
        const int byte = byte_ids_[static_cast<unsigned char>(c)];
        tokens.push_back({byte, std::string(piece(byte))});
      }
    } else if (tokens.empty() || tokens.back().id != unk_id_) {
      tokens.push_back({unk_id_, std::string(surface)});
    } else {
      tokens.back().text += surface;
    }
  }
  return tokens;
}

std::vector<int> SentencePiece::add_special(std::vector<int> ids, std::size_t max_length) const {
  check(max_length > 0, "[sentencepiece] max_length must be at least 1 but is {}", max_length);
  const std::size_t special = eos_id_ >= 0 ? 1 : 0;
  ids.resize(std::min(ids.size(), max_length - special));
  if (special) ids.push_back(eos_id_);
  return ids;
}

TokenBatch SentencePiece::encode_padded(std::span<const std::string> texts, std::size_t length, bool eos) const {
  check(pad_id_ >= 0, "[sentencepiece] model must have a pad piece but has none");
  check(!eos || eos_id_ >= 0, "[sentencepiece] model must have an end-of-sentence piece but has none");
  check(length > 0, "[sentencepiece] length must be at least 1 but is {}", length);
  TokenBatch batch(texts.size(), length, pad_id_);
  for (std::size_t row = 0; row < texts.size(); ++row) {
    const std::vector<int> ids = encode(texts[row]);
    batch.set_row(row, eos ? add_special(ids, length) : ids);
  }
  return batch;
}

// Puts the text of pieces together, one after the other.
class SentencePiece::Decoder {
 public:
  explicit Decoder(const SentencePiece& model) : model_(model) {}

  void add(int id, std::string_view text) {
    const PieceType type = model_.type(id);
    if (type == PieceType::byte) {
      bytes_ += static_cast<char>(*byte_of(model_.piece(id)));
      return;
    }
    end_bytes();
    if (type == PieceType::control) return;
    if (type == PieceType::unknown) {
      out_ += text == model_.piece(id) ? model_.unk_surface_ : text;
      return;
    }
    // The dummy prefix is not part of the text; where whitespace was removed, none can have been at the start.
    const bool strips = model_.strip_every_first_space_ || (model_.strip_first_space_ && !stripped_);
    if (out_.empty() && strips && text.starts_with(space_symbol)) {
      text.remove_prefix(space_symbol.size());
      stripped_ = true;
    }
    for (std::size_t at; (at = text.find(space_symbol)) != text.npos; text.remove_prefix(at + space_symbol.size())) {
      out_ += text.substr(0, at);
      out_ += ' ';
    }
    out_ += text;
  }

  std::string finish() {
    end_bytes();
    return model_.denormalize_ ? model_.denormalizer_(out_) : std::move(out_);
  }

 private:
  void end_bytes() {
    append_bytes_as_text(bytes_, out_);
    bytes_.clear();
  }

  const SentencePiece& model_;
  std::string out_, bytes_;
  bool stripped_ = false;
};

std::string SentencePiece::decode(std::span<const int> ids) const {
  Decoder decoder(*this);
  for (const int id : ids) decoder.add(id, piece(id));
  return decoder.finish();
}

std::string SentencePiece::decode_tokens(std::span<const Token> tokens) const {
  Decoder decoder(*this);
  for (const auto& [id, text] : tokens) decoder.add(id, text);
  return decoder.finish();
}

void SentencePiece::check_id(int id) const {
  check(id >= 0 && id < size(), "[sentencepiece] id must be from 0 to {} but is {}", size() - 1, id);
}

std::string_view SentencePiece::piece(int id) const {
  check_id(id);
  const std::uint32_t begin = id ? text_ends_[id - 1] : 0;
  return std::string_view(texts_).substr(begin, text_ends_[id] - begin);
}

PieceType SentencePiece::type(int id) const {
  check_id(id);
  return types_[id];
}

float SentencePiece::score(int id) const {
  check_id(id);
  return scores_[id];
}

}  // namespace weft
