#include "apps/program.h"

#include "kernels/device/doors.h"
#include "kernels/device/waiting.h"
#include "tensor/check.h"

#include <omp.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>

namespace weft {
namespace {

int report(std::string message, int code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::cerr << "error: " << message << std::endl;
  return code;
}

// A full disk or a closed pipe shows only when the last buffer is written.
void flush_output() {
  errno = 0;
  std::cout.flush();
  const bool ok = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good();
  check_input(ok, "cannot write to standard output: {}", errno ? std::strerror(errno) : "stream is broken");
}

}  // namespace

void CommonOptions::add_compute(CLI::App& app) {
  app.add_option("--device", device, "Where to compute")->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  app.add_option("--dtype", dtype, "Number format of the computation")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option_function<std::string>("--gemm", choose_gemm, "Matrix products on device cuda: weft's or NVIDIA's")
      ->check(CLI::IsMember({"own", "cublas"}))
      ->type_name("own|cublas");
  app.add_option_function<std::string>("--conv", choose_conv, "Convolutions on device cuda: weft's or NVIDIA's")
      ->check(CLI::IsMember({"own", "cudnn"}))
      ->type_name("own|cudnn");
  app.add_option_function<int>(
         "--threads", [this](const int& n) { omp_set_num_threads(threads = n); }, "Threads (default: every core)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
}

void CommonOptions::add_seed(CLI::App& app) {
  app.add_option("--seed", seed, "Seed of every random number")->type_name("N")->capture_default_str();
}

void CommonOptions::add_json(CLI::App& app) { app.add_flag("--json", json, "Print one JSON object and nothing else"); }

void CommonOptions::add_quiet(CLI::App& app) { app.add_flag("--quiet", quiet, "No progress"); }

int run_program(int argc, const char* const* argv, CLI::App& app, const std::function<void()>& body) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file above the user's limit is an error of write(), as a full disk is
  try {
    app.parse(argc, argv);
    const WaitingWatch watch(omp_get_max_threads());
    body();
    flush_output();
    return 0;
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  } catch (const CLI::ParseError& e) {
    return report(fmt::format("{} (see --help)", e.what()), 2);
  } catch (const std::bad_alloc&) {
    return report("out of memory", 1);
  } catch (const std::exception& e) {
    return report(e.what(), 1);
  }
}

}  // namespace weft
