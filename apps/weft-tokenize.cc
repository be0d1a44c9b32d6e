// weft-tokenize: lines of text to lines of ids and back.
#include "apps/program.h"
#include "tensor/check.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace weft {
namespace {

std::vector<int> parse_ids(std::string_view line, std::size_t number, int vocabulary) {
  std::vector<int> ids;
  const char* at = line.data();
  const char* const end = at + line.size();
  while (true) {
    while (at != end && (*at == ' ' || *at == '\r')) ++at;
    if (at == end) return ids;
    int id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    const bool whole = error == std::errc{} && (next == end || *next == ' ' || *next == '\r');
    check_input(whole && id >= 0 && id < vocabulary, "standard input: line {}: expected ids from 0 to {}, found \"{}\"",
                number, vocabulary - 1, std::string_view(at, std::find(at, end, ' ') - at));
    ids.push_back(id);
    at = next;
  }
}

void append_ids(const std::vector<int>& ids, std::string& out) {
  char digits[16];
  for (const int id : ids) {
    if (!out.empty()) out += ' ';
    out.append(digits, std::to_chars(digits, std::end(digits), id).ptr);
  }
}

struct Options {
  std::string model;
  bool decode = false, eos = false, special = false;
  std::size_t max_length = Tokenizer::unlimited, pad_to = 0;
};

std::vector<int> encode(const Tokenizer& tokenizer, std::string_view line, const Options& options) {
  if (options.special) return tokenizer.encode_special(line, options.max_length);
  std::vector<int> ids = tokenizer.encode(line);
  if (options.eos) ids.push_back(std::get<SentencePiece>(tokenizer.kind()).eos_id());
  return ids;
}

void tokenize(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  const auto* const pieces = std::get_if<SentencePiece>(&tokenizer.kind());
  check_input(!options.eos || (pieces && pieces->eos_id() >= 0),
              "--eos: expected a SentencePiece model with an end-of-sentence piece, found none (see --special)");
  check_input(!options.pad_to || tokenizer.pad_id() >= 0, "--pad: expected a model with padding, found none");
  std::string line, out;
  for (std::size_t number = 1; std::getline(std::cin, line); ++number) {
    out.clear();
    if (options.decode) {
      out = tokenizer.decode(parse_ids(line, number, tokenizer.size()));
    } else {
      std::vector<int> ids = encode(tokenizer, line, options);
      ids.resize(std::max(ids.size(), options.pad_to), tokenizer.pad_id());
      append_ids(ids, out);
    }
    out += '\n';
    std::cout.write(out.data(), static_cast<std::streamsize>(out.size()));
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  CLI::App app{"Reads lines of text and writes the ids of their pieces, separated by spaces, one line for each."};
  app.footer("Example: echo 'červené tričko' | weft-tokenize --model data/emoji13");
  weft::Options options;
  app.add_option("--model", options.model,
                 "SentencePiece model or CLIP's merges, or a folder with the tokenizer of a model")
      ->required()
      ->type_name("FILE|DIR");
  auto* const decode_flag = app.add_flag("--decode", options.decode, "Read ids and write text");
  auto* const eos_flag = app.add_flag("--eos", options.eos, "Append the end-of-sentence id to every line");
  auto* const special_flag =
      app.add_flag("--special", options.special, "Ids as the model takes them: with its special tokens");
  app.add_option("--max-length", options.max_length, "Cut so that at most N ids are left, special tokens kept")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->needs(special_flag);
  app.add_option("--pad", options.pad_to, "Add padding up to N ids")->type_name("N")->check(CLI::Range(1, 1 << 20));
  decode_flag->excludes(eos_flag)->excludes(special_flag);
  eos_flag->excludes(special_flag);
  return weft::run_program(argc, argv, app, [&] { weft::tokenize(options); });
}
