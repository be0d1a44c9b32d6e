// run_program: exit codes and the one line on stderr.
#include "apps/program.h"

#include "tensor/check.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <iostream>
#include <sstream>
#include <vector>

using namespace weft;

namespace {

struct Outcome {
  int code;
  std::string out, err;
};

Outcome run(std::vector<const char*> arguments, CLI::App& app, const std::function<void()>& body) {
  arguments.insert(arguments.begin(), "weft-test");
  std::ostringstream out, err;
  auto* old_out = std::cout.rdbuf(out.rdbuf());
  auto* old_err = std::cerr.rdbuf(err.rdbuf());
  const int code = run_program(static_cast<int>(arguments.size()), arguments.data(), app, body);
  std::cout.rdbuf(old_out);
  std::cerr.rdbuf(old_err);
  return {code, out.str(), err.str()};
}

}  // namespace

TEST_CASE("done is 0") {
  CLI::App app{"test"};
  bool ran = false;
  const Outcome o = run({}, app, [&] { ran = true; });
  CHECK(o.code == 0);
  CHECK(ran);
  CHECK(o.err.empty());
}

TEST_CASE("--help is 0, shows the example and runs nothing") {
  CLI::App app{"test"};
  app.footer("Example: weft-test --seed 1");
  const Outcome o = run({"--help"}, app, [] { fail("must not run"); });
  CHECK(o.code == 0);
  CHECK(o.out.find("Example: weft-test --seed 1") != std::string::npos);
}

TEST_CASE("wrong usage is 2") {
  CLI::App app{"test"};
  CommonOptions common;
  common.add_compute(app);
  common.add_seed(app);
  const auto body = [] { fail("must not run"); };
  CHECK(run({"--nonsense"}, app, body).code == 2);
  CHECK(run({"--seed", "x"}, app, body).code == 2);
  CHECK(run({"--threads", "0"}, app, body).code == 2);
  const Outcome o = run({"--device", "tpu"}, app, body);
  CHECK(o.code == 2);
  CHECK(o.err.rfind("error: --device", 0) == 0);
  CHECK(o.err.find('\n') == o.err.size() - 1);
  CLI::App other{"test"};
  CHECK(run({}, other, [] { throw CLI::ValidationError("--out", "needs --model"); }).code == 2);
}

TEST_CASE("an exception is 1 and one line") {
  CLI::App app{"test"};
  const Outcome o = run({}, app, [] { fail("a.csv: row {}:\nexpected 8 fields", 3); });
  CHECK(o.code == 1);
  CHECK(o.err == "error: a.csv: row 3: expected 8 fields\n");
}

TEST_CASE("output that cannot be written is 1") {
  CLI::App app{"test"};
  const Outcome o = run({}, app, [] { std::cout.setstate(std::ios::badbit); });
  std::cout.clear();
  CHECK(o.code == 1);
}

TEST_CASE("common options arrive") {
  CLI::App app{"test"};
  CommonOptions common;
  common.add_compute(app);
  common.add_seed(app);
  common.add_json(app);
  common.add_quiet(app);
  const int before = omp_get_max_threads();
  const Outcome o =
      run({"--device", "cpu", "--dtype", "bf16", "--seed", "7", "--threads", "3", "--json", "--quiet"}, app, [] {});
  CHECK(o.code == 0);
  CHECK(omp_get_max_threads() == 3);
  omp_set_num_threads(before);
  CHECK(common.dtype == "bf16");
  CHECK(common.seed == 7);
  CHECK(common.threads == 3);
  CHECK(common.json);
  CHECK(common.quiet);
}
