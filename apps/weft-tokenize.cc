// weft-tokenize: lines of text to lines of ids and back.
#include "apps/program.h"
#include "tensor/check.h"
#include "tokenizer/sentencepiece.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <string>
#include <string_view>
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

void tokenize(const SentencePiece& tokenizer, bool decode, bool eos) {
  check_input(!eos || tokenizer.eos_id() >= 0, "--eos: expected a model with an end-of-sentence piece, found none");
  std::string line, out;
  for (std::size_t number = 1; std::getline(std::cin, line); ++number) {
    out.clear();
    if (decode) {
      out = tokenizer.decode(parse_ids(line, number, tokenizer.size()));
    } else {
      std::vector<int> ids = tokenizer.encode(line);
      if (eos) ids.push_back(tokenizer.eos_id());
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
  std::string model;
  bool decode = false, eos = false;
  app.add_option("--model", model, "SentencePiece model (unigram or BPE), or a folder with spiece.model")
      ->required()
      ->type_name("FILE|DIR");
  auto* const decode_flag = app.add_flag("--decode", decode, "Read ids and write text");
  app.add_flag("--eos", eos, "Append the end-of-sentence id to every line")->excludes(decode_flag);
  return weft::run_program(argc, argv, app, [&] { weft::tokenize(weft::SentencePiece::load(model), decode, eos); });
}
