// weft-bench: runs a pretrained encoder on prepared inputs, times it, and writes what it gives.
#include <sys/resource.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/program.h"
#include "apps/tower.h"
#include "kernels/cast.h"
#include "kernels/device/waiting.h"
#include "tensor/autograd.h"
#include "tensor/dtype.h"
#include "tensor/memory.h"

namespace weft {
namespace {

struct Options {
  std::filesystem::path model, input, output;
  int64_t batch = 8;
  double seconds = 0;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Rows [begin, end) of every input -> the encoder's result.
struct Encoder {
  int64_t items = 0;
  std::function<Tensor(int64_t begin, int64_t end)> run;
};

Encoder image_encoder(const Options& o, const Safetensors& input, Device device, DType dtype) {
  const auto tower = std::make_shared<ImageTower>(ImageTower::load(o.model, device));
  const Tensor images = input.tensor("images");
  const std::string side = tower->side ? std::to_string(tower->side) : "any";
  check_input(images.rank() == 4 && images.dim(3) == 3 && is_floating(images.dtype()) &&
                  (!tower->side || (images.dim(1) == tower->side && images.dim(2) == tower->side)),
              "{}: images must be floats [N, {}, {}, 3] but are {} {}", input.path(), side, side, images.dtype(), images.shape());
  return {images.dim(0), [=](int64_t begin, int64_t end) {
            return tower->embed(cast(images.leading(begin, end), dtype).to(device));
          }};
}

Encoder text_encoder(const Options& o, const Safetensors& input, Device device, DType dtype) {
  const auto tower = std::make_shared<TextTower>(TextTower::load(o.model, device));
  const Tensor ids = input.tensor("ids");
  check_input(ids.dtype() == DType::i64 && ids.rank() == 2 && ids.dim(1) <= tower->max_tokens,
              "{}: ids must be i64 [N, T] with T at most {} but are {} {}", input.path(), tower->max_tokens, ids.dtype(), ids.shape());
  for (int64_t i = 0; i < ids.numel(); ++i) {
    const int64_t id = ids.data<int64_t>()[i];
    check_input(id >= 0 && id < tower->vocabulary, "{}: ids must lie in [0, {}) but one is {}", input.path(), tower->vocabulary, id);
  }
  const Tensor mask = input.find("mask") ? cast(input.tensor("mask"), DType::boolean)
                                         : Tensor::full(ids.shape(), 1, DType::boolean);
  check_input(mask.shape() == ids.shape(), "{}: mask must have the shape of ids, {}, but has {}", input.path(), ids.shape(),
              mask.shape());
  return {ids.dim(0), [=](int64_t begin, int64_t end) {
            return tower->embed(ids.leading(begin, end), mask.leading(begin, end), dtype);
          }};
}

void bench(const Options& o, const CommonOptions& common) {
  const Device device = device_from_name(common.device);
  const DType dtype = dtype_from_name(common.dtype);
  const Safetensors input(o.input);
  check_input(input.find("images") || input.find("ids"), "{}: a tensor named images or ids was expected", o.input.string());
  const NoGrad no_grad;
  const Encoder encoder =
      input.find("images") ? image_encoder(o, input, device, dtype) : text_encoder(o, input, device, dtype);
  const auto pass = [&](const std::function<void(int64_t, const Tensor&)>& keep) {
    for (int64_t begin = 0; begin < encoder.items; begin += o.batch) {
      keep(begin, encoder.run(begin, std::min(encoder.items, begin + o.batch)).to(Device::cpu));
    }
  };

  const double start = now();
  double first = 0;
  Tensor all;
  pass([&](int64_t begin, const Tensor& part) {
    if (begin == 0) {
      first = now() - start;
      Shape shape = part.shape();
      shape[0] = encoder.items;
      if (!o.output.empty()) all = Tensor::empty(shape, DType::f32);
    }
    if (all) all.leading(begin, begin + part.dim(0)).copy_from(part);
  });
  if (all) write_safetensors(o.output, {{"output", all}});

  double best = 0;
  for (double spent = 0; spent < o.seconds;) {
    const double before = now();
    pass([](int64_t, const Tensor&) {});
    const double took = now() - before;
    spent += took;
    best = std::max(best, static_cast<double>(encoder.items) / took);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double peak = static_cast<double>(usage.ru_maxrss) / 1024;
  if (common.json) {
    std::cout << nlohmann::json{{"items", encoder.items}, {"items_per_second", best}, {"first_batch_seconds", first},
                                {"peak_mib", peak}}
                     .dump()
              << "\n";
  } else {
    fmt::print("{} items, {:.2f} items/s, first batch {:.3f} s, peak memory {:.0f} MiB\n", encoder.items, best, first, peak);
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  CLI::App app{"Runs a pretrained encoder on prepared inputs (a safetensors file with images [N, H, W, 3], or ids and mask\n"
               "[N, T]), in batches and over again; prints the best rate of a pass and the peak memory."};
  app.footer("Example: weft-bench --model clip --input images.safetensors --batch 8 --seconds 5");
  Options o;
  CommonOptions common;
  app.add_option("--model", o.model, "Model folder: CLIP, multilingual CLIP, XLM-RoBERTa, mT5 or ResNeXt")->required();
  app.add_option("--input", o.input, "What to encode")->required();
  app.add_option("--output", o.output, "Write the result there: a safetensors file with the tensor `output`, f32");
  app.add_option("--batch", o.batch, "Items at a time")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--seconds", o.seconds, "Time to measure for, after one pass; 0: that pass only")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  common.add_compute(app);
  common.add_json(app);
  return run_program(argc, argv, app, [&] { bench(o, common); });
}
