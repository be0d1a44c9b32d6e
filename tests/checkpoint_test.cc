// Checkpoints: a resumed training gives the same bytes, and no crash or full disk costs more than what came after the
// last one.
#include "nn/checkpoint.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kernels/arithmetic.h"
#include "kernels/batch_norm.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "nn/model_folder.h"
#include "nn/schedule.h"
#include "tensor/autograd.h"
#include "tests/temporary_folder.h"

using namespace weft;

namespace {

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A small net with buffers, a frozen part and random inputs.
struct Run {
  ParameterSet set{7};
  Tensor frozen, w1, w2, gamma, beta, mean, var;
  std::unique_ptr<Optimizer> optimizer;
  Ema ema;
  TrainingState state{.random = {99, 0}};

  explicit Run(bool adam = true)
      : frozen(Params(set).trainable(false).parameter("frozen", {8, 8}, init::normal(0.5))),
        w1((Params(set) / "a").parameter("weight", {16, 8}, init::normal(0.5))),
        w2((Params(set) / "b").parameter("weight", {4, 16}, init::normal(0.5))),
        gamma((Params(set) / "bn").parameter("weight", {16}, init::ones())),
        beta((Params(set) / "bn").parameter("bias", {16}, init::zeros())),
        mean((Params(set) / "bn").buffer("running_mean", {16}, 0)),
        var((Params(set) / "bn").buffer("running_var", {16}, 1)),
        optimizer(adam ? std::unique_ptr<Optimizer>(std::make_unique<AdamW>(set))
                       : std::make_unique<Sgd>(set, SgdOptions{.momentum = 0.9})),
        ema(set, 0.9, true) {}

  void train(int steps) {
    const Training training;
    const Schedule schedule{.kind = Schedule::Kind::cosine, .peak = 0.05, .warm_up = 3, .steps = 40};
    for (int i = 0; i < steps; ++i) {
      const PhiloxStream stream = state.random.reserve(32 * 8);
      Tensor x = Tensor::empty({32, 8});
      for (int64_t e = 0; e < x.numel(); ++e)
        x.data<float>()[e] = static_cast<float>(stream.normal(static_cast<uint64_t>(e)));
      const Tensor h = batch_norm(linear(linear(x, frozen), w1), gamma, beta, mean, var, {.relu = true});
      const Tensor error = sub(linear(h, w2), x.reshape({64, 4}).leading(0, 32));
      set.clear_gradients();
      backward(weft::mean(mul(error, error)));
      clip_by_global_norm(set, 1);
      optimizer->step(schedule.at(state.step++));
      ema.update();
      if (++state.batch == 10) ++state.epoch, state.batch = 0;
    }
  }
  void save(const std::filesystem::path& path) const { save_checkpoint(path, set, *optimizer, &ema, state); }
  void load(const std::filesystem::path& path) { state = load_checkpoint(path, set, *optimizer, &ema); }
};

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("stopping and resuming gives the same bytes as never stopping") {
  const TemporaryFolder folder;
  for (const bool adam : {true, false}) {
    Run straight(adam);
    straight.train(24);
    straight.save(folder / "straight");
    {
      Run first(adam);
      first.train(11);
      first.state.notes["options"] = "two\nlines";
      first.save(folder / "half");
    }
    Run second(adam);
    second.load(folder / "half");
    CHECK(second.state.step == 11);
    CHECK(second.state.epoch == 1);
    CHECK(second.state.batch == 1);
    CHECK(second.state.random.offset > 0);
    CHECK(second.state.notes.at("options") == "two\nlines");
    second.state.notes.clear();
    second.train(13);
    second.save(folder / "resumed");
    CHECK(bytes_of(folder / "resumed") == bytes_of(folder / "straight"));

    Run other(adam);
    other.train(23);
    other.save(folder / "other");
    CHECK(bytes_of(folder / "other") != bytes_of(folder / "straight"));
  }
}

TEST_CASE("a checkpoint that does not fit is refused and changes nothing") {
  const TemporaryFolder folder;
  const std::string path = (folder / "c").string();
  Run run;
  run.train(3);
  run.save(path);
  const auto weights = run.w1.to_doubles();

  Run sgd(false);
  CHECK(error_of([&] { sgd.load(path); }) == path + ": the optimizer must be sgd but was 'adamw'");
  CHECK(error_of([&] { load_checkpoint(path, run.set, *run.optimizer, nullptr); }) ==
        path + ": tensor 'ema.updates' is not part of this training");
  {
    ParameterSet set;
    Params(set).parameter("w", {2, 2}, init::zeros());
    AdamW optimizer(set);
    CHECK(error_of([&] { load_checkpoint(path, set, optimizer, nullptr); }) == path + ": tensor 'model.w' is missing");
  }
  const auto rewrite =
      [&](const std::function<void(std::vector<NamedTensor>&, std::map<std::string, std::string>&)>& change) {
        const Safetensors file(path);
        std::vector<NamedTensor> tensors;
        for (const auto& entry : file.entries()) tensors.push_back({entry.name, file.tensor(entry.name)});
        auto metadata = file.metadata();
        change(tensors, metadata);
        write_safetensors(folder / "changed", tensors, metadata);
        Run fresh;
        fresh.train(1);
        const auto before = fresh.w1.to_doubles();
        const std::string error = error_of([&] { fresh.load(folder / "changed"); });
        CHECK(fresh.w1.to_doubles() == before);
        return error.substr(std::min(error.size(), (folder / "changed").string().size()));
      };
  CHECK(rewrite([](auto&, auto& m) { m.erase("step"); }) == ": metadata 'step' is missing");
  CHECK(rewrite([](auto&, auto& m) { m["step"] = "-1"; }) ==
        ": metadata step must be a whole number of at least 0 but is '-1'");
  CHECK(rewrite([](auto&, auto& m) { m["batch"] = "1x"; }) ==
        ": metadata batch must be a whole number of at least 0 but is '1x'");
  CHECK(rewrite([](auto&, auto& m) {
          m["random_seed"] = "18446744073709551616";
        }).find("metadata random_seed must be") == 0 + 2);
  CHECK(rewrite([](auto&, auto& m) { m["weft_checkpoint"] = std::string("2"); }) ==
        ": the version of the checkpoint must be 1 but is '2'");
  CHECK(rewrite([](auto& t, auto&) {
          for (NamedTensor& x : t) {
            if (x.name == "model.b.weight") x.tensor = Tensor::zeros({16, 4});
          }
        }) == ": tensor 'model.b.weight' must be f32 [4, 16] but is f32 [16, 4]");
  CHECK(rewrite([](auto& t, auto&) { t.pop_back(); }).ends_with("is missing"));
  CHECK(rewrite([](auto& t, auto&) {
          t.push_back({"model.more", Tensor::zeros({1})});
        }) == ": tensor 'model.more' is not part of this training");
  write_safetensors(folder / "weights", run.set.named_tensors());
  CHECK(error_of([&] { run.load(folder / "weights"); }) ==
        (folder / "weights").string() + ": metadata 'weft_checkpoint' is missing");
  std::filesystem::resize_file(path, 1000);
  CHECK(error_of([&] { run.load(path); }) != "no error");
  CHECK(run.w1.to_doubles() == weights);
}

TEST_CASE("a process killed while it saves leaves a whole checkpoint") {
  const TemporaryFolder folder;
  ParameterSet set;
  const Tensor w = Params(set).parameter("w", {500, 1000}, init::zeros());
  AdamW optimizer(set);
  TrainingState state;
  save_checkpoint(folder / "c", set, optimizer, nullptr, state);
  Random random{5, 0};
  int64_t last = 0;
  for (int trial = 0; trial < 20; ++trial) {
    const pid_t child = fork();
    if (child == 0) {
      // Every value of the weights is the step, so that a mixture would show. No OpenMP: its threads do not survive a
      // fork.
      for (int64_t step = last + 1;; ++step) {
        w.fill(static_cast<double>(step));
        state.step = step;
        save_checkpoint(folder / "c", set, optimizer, nullptr, state);
      }
    }
    usleep(1000 + random.reserve(1).bits(0) % 30'000);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    state = load_checkpoint(folder / "c", set, optimizer, nullptr);
    CHECK(state.step >= last);
    last = state.step;
    const auto values = w.to_doubles();
    CHECK(std::all_of(values.begin(), values.end(), [&](double v) { return v == static_cast<double>(last); }));
  }
  MESSAGE("the last of 20 killed processes had saved step ", last);
  CHECK(last > 0);
  // What the last one left half-written is taken over by the next.
  save_checkpoint(folder / "c", set, optimizer, nullptr, state);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a full disk leaves the old checkpoint and the old model") {
  const TemporaryFolder folder;
  ParameterSet set;
  const Tensor w = Params(set).parameter("w", {100, 1000}, init::zeros());
  AdamW optimizer(set);
  save_checkpoint(folder / "c", set, optimizer, nullptr, {});
  save_model_folder(folder / "model", {{"size", 1}}, set);
  const std::string checkpoint = bytes_of(folder / "c"), weights = bytes_of(folder / "model/model.safetensors"),
                    config = bytes_of(folder / "model/config.json");
  CHECK(nlohmann::json::parse(config) == nlohmann::json{{"size", 1}});
  const pid_t child = fork();
  if (child == 0) {
    // A limit on file sizes is a full disk that needs no privileges.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    w.fill(1);
    const std::string first = error_of([&] { save_checkpoint(folder / "c", set, optimizer, nullptr, {}); });
    const std::string second = error_of([&] { save_model_folder(folder / "model", {{"size", 2}}, set); });
    const bool as_expected =
        first == (folder / "c").string() + ": cannot be written: File too large" &&
        second == (folder / "model/model.safetensors").string() + ": cannot be written: File too large";
    _exit(as_expected ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(bytes_of(folder / "c") == checkpoint);
  CHECK(bytes_of(folder / "model/model.safetensors") == weights);
  CHECK(bytes_of(folder / "model/config.json") == config);
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "model"), {}) == 2);
}

TEST_CASE("a model folder that cannot be made") {
  const TemporaryFolder folder;
  folder.write("file", "x");
  const ParameterSet set;
  CHECK(error_of([&] { save_model_folder(folder / "file", {}, set); }).starts_with((folder / "file").string() + ": "));
}
