// What every weft program shares: parsing, exit codes, the one line of an error, and the options that mean the same
// everywhere.
//
//   int main(int argc, char** argv) {
//     CLI::App app{"One line that says what the program does."};
//     app.footer("Example: weft-thing --model MODEL");
//     CommonOptions common;
//     common.add_compute(app);
//     return run_program(argc, argv, app, [&] { ... });
//   }
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace weft {

/// The options that programs share. A program adds the groups that it honours; the others keep their defaults.
struct CommonOptions {
  std::string device = "cpu";  ///< cpu or cuda
  std::string dtype = "f32";   ///< f32 or bf16
  int threads = 0;             ///< 0: as many as OpenMP chooses
  std::uint64_t seed = 0;
  bool json = false;   ///< one object on stdout and nothing else
  bool quiet = false;  ///< no progress

  void add_compute(CLI::App& app);  ///< --device --dtype --threads --gemm --conv, the last three for the whole program
  void add_seed(CLI::App& app);     ///< --seed
  void add_json(CLI::App& app);     ///< --json
  void add_quiet(CLI::App& app);    ///< --quiet
};

/// Parses the arguments, runs `body` and returns the exit code of the program: 0 done (or --help), 1 `body` threw or
/// standard output could not be written, 2 wrong usage (a CLI::ParseError, which `body` may throw too). 1 and 2 print
/// one line `error: ...` on stderr.
int run_program(int argc, const char* const* argv, CLI::App& app, const std::function<void()>& body);

}  // namespace weft
