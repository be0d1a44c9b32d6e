#include "tokenizer/tokenizer.h"

#include "tensor/check.h"
#include "tokenizer/gzip.h"
#include "tokenizer/model_file.h"

#include <nlohmann/json.hpp>

#include <utility>

namespace weft {
namespace {

namespace fs = std::filesystem;

/// model_type of the folder's config.json, or "".
std::string model_type(const fs::path& folder) {
  const auto path = folder / "config.json";
  if (!fs::exists(path)) return "";
  const auto config = nlohmann::json::parse(read_model_file(path, "a model's configuration"), nullptr, false);
  check_input(config.is_object(), "{}: expected a JSON object, found something else", path.string());
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : "";
}

Tokenizer::Kind load_folder(const fs::path& folder) {
  if (fs::exists(folder / "sentencepiece.bpe.model")) {
    if (fs::exists(folder / "vocab.json")) return M2m100Tokenizer::load(folder);
    return XlmRobertaTokenizer(SentencePiece::load(folder / "sentencepiece.bpe.model"));
  }
  if (fs::exists(folder / "bpe_simple_vocab_16e6.txt.gz")) {
    return ClipTokenizer::load(folder / "bpe_simple_vocab_16e6.txt.gz");
  }
  const std::string type = model_type(folder);
  const bool may_be_clip = type.empty() || type.starts_with("clip");
  if (may_be_clip && fs::exists(folder / "merges.txt")) return ClipTokenizer::load(folder / "merges.txt");
  SentencePiece pieces = SentencePiece::load(folder);
  if (type == "mt5" || type == "t5") return T5Tokenizer(std::move(pieces), (folder / "spiece.model").string());
  return pieces;
}

Tokenizer::Kind load_file(const fs::path& path) {
  const std::string bytes = read_model_file(path, "a SentencePiece model");
  if (is_gzip(bytes) || bytes.starts_with('#') || bytes.starts_with('"')) {
    return ClipTokenizer::parse(bytes, path.string());
  }
  return SentencePiece::parse(bytes, path.string());
}

}  // namespace

Tokenizer Tokenizer::load(const fs::path& path) {
  return Tokenizer(fs::is_directory(path) ? load_folder(path) : load_file(path));
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  return std::visit([&](const auto& kind) { return kind.encode(text); }, kind_);
}

std::vector<int> Tokenizer::encode_special(std::string_view text, std::size_t max_length) const {
  return std::visit([&](const auto& kind) { return kind.add_special(kind.encode(text), max_length); }, kind_);
}

TokenBatch Tokenizer::encode_padded(std::span<const std::string> texts, std::size_t length) const {
  check(pad_id() >= 0, "[tokenizer] model must have padding but has none");
  TokenBatch batch(texts.size(), length, pad_id());
  for (std::size_t row = 0; row < texts.size(); ++row) batch.set_row(row, encode_special(texts[row], length));
  return batch;
}

std::string Tokenizer::decode(std::span<const int> ids) const {
  return std::visit([&](const auto& kind) { return kind.decode(ids); }, kind_);
}

int Tokenizer::size() const {
  return std::visit([](const auto& kind) { return kind.size(); }, kind_);
}

int Tokenizer::pad_id() const {
  return std::visit([](const auto& kind) { return kind.pad_id(); }, kind_);
}

}  // namespace weft
