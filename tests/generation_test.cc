// weft-generate's inside on the recorded cascade (tests/golden/imagen) with a small text encoder.
#include "apps/generation.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data/image.h"
#include "kernels/arithmetic.h"
#include "models/cascade.h"
#include "nn/config.h"
#include "tests/imagen_golden.h"
#include "tests/sentencepiece_models.h"
#include "tests/temporary_folder.h"
#include "tokenizer/sentencepiece.h"

using namespace weft;

namespace {

std::vector<NamedTensor> recorded_weights() {
  std::vector<NamedTensor> list;
  for (const int i : {0, 1}) {
    const Safetensors file(imagen_file(fmt::format("unet{}_weights.safetensors", i)));
    for (const Safetensors::Entry& e : file.entries()) list.push_back({e.name, file.tensor(e.name)});
  }
  return list;
}

// A model folder: the recorded UNets, and a text encoder whose weights are drawn.
struct Folder {
  TemporaryFolder root;
  Folder() {
    std::filesystem::create_directories(root / "text_encoder");
    write_json_file(root / "config.json", tiny_cascade().to_json());
    write_safetensors(root / "model.safetensors", recorded_weights());
    ParameterSet set(5);
    const T5Config config{.vocab_size = 50, .d_model = 20, .d_kv = 4, .num_heads = 2, .d_ff = 16, .num_layers = 1};
    const T5Encoder encoder(set, config);
    set.save(root / "text_encoder" / "model.safetensors");
    write_json_file(root / "text_encoder" / "config.json", config.to_json());
    root.write("spiece.model", handmade::many_ties());
  }
  GenerationFiles files(const std::string& out) const {
    GenerationFiles f;
    f.model = root.path();
    f.out = root / out;
    return f;
  }
  Image image(const std::string& name) const { return read_image(root / name); }
};

CommonOptions quiet() {
  CommonOptions c;
  c.quiet = true;
  return c;
}

GenerationRequest short_request(std::vector<std::string> texts) {
  GenerationRequest r;
  r.texts = std::move(texts);
  r.steps = 3;
  return r;
}

}  // namespace

TEST_CASE("recorded noise and texts give the recorded numbers") {
  const Folder folder;
  const ImagenGolden golden;
  GenerationRequest r;
  r.sampler = "ddpm";
  r.steps = 5;
  GenerationFiles f = folder.files("x.safetensors");
  f.noise = f.embeddings = imagen_file("golden.safetensors");
  generate(r, f, quiet());
  const Safetensors out(f.out);
  for (int i = 0; i < 10; ++i) {
    const std::string name = fmt::format("sample.x.{:02}", i);
    CHECK(error_of(out.tensor(name), golden(name)) <= 1e-4);
  }
  CHECK(error_of(out.tensor("sample.out16"), golden("sample.out64")) <= 1e-4);
  CHECK(error_of(out.tensor("sample.out32"), golden("sample.out128")) <= 1e-4);
}

TEST_CASE("a picture depends on its text, number and seed, not on what is drawn beside it") {
  const Folder folder;
  GenerationRequest r = short_request({"ab", "gba", "ab"});
  r.count = 2;
  GenerationFiles f = folder.files("grid.png");
  generate(r, f, quiet());
  const Image grid = folder.image("grid.png");
  f.batch = 3;
  f.out = folder.root / "batches.png";
  generate(r, f, quiet());
  CHECK(folder.image("batches.png") == grid);
  const auto cell = [&](int row, int column) {
    std::vector<uint8_t> pixels;
    for (int y = 0; y < 32; ++y) {
      const uint8_t* p = grid.at(4 + row * (32 + 4 + 22) + y, 4 + column * 36);
      pixels.insert(pixels.end(), p, p + 3 * 32);
    }
    return pixels;
  };
  CHECK(cell(0, 0) == cell(2, 0));
  CHECK(cell(0, 1) == cell(2, 1));
  CHECK(cell(0, 0) != cell(0, 1));
  CHECK(cell(0, 0) != cell(1, 0));

  // The same two pictures alone, in files of their own.
  r.texts = {"ab"};
  f.out = folder.root / "one.png";
  generate(r, f, quiet());
  CHECK(folder.image("one-1.png").pixels == cell(0, 0));
  CHECK(folder.image("one-2.png").pixels == cell(0, 1));
  r.seed = 1;
  r.count = 1;
  generate(r, f, quiet());
  CHECK(folder.image("one.png").pixels != cell(0, 0));
}

TEST_CASE("a picture's own parameters repeat it") {
  const Folder folder;
  GenerationRequest r = short_request({"ab"});
  r.sampler = "ddim";
  r.guidance = 3;
  r.seed = 9;
  GenerationFiles f = folder.files("first.png");
  f.preview = folder.root / "preview.png";
  generate(r, f, quiet());
  CHECK(folder.image("preview.png").height == 32 + 8);
  f.out = folder.root / "second.png";
  generate(read_request(folder.root / "first.png"), f, quiet());
  CHECK(read_file(folder.root / "first.png", 1 << 20) == read_file(folder.root / "second.png", 1 << 20));
  r.size = 16;
  generate(r, f, quiet());
  CHECK(folder.image("second.png").width == 16);
}

TEST_CASE("texts that are empty or too long are drawn; what cannot be is refused with the place") {
  const Folder folder;
  CHECK_NOTHROW(generate(short_request({"", std::string(100, 'b')}), folder.files("odd.png"), quiet()));
  GenerationRequest r = short_request({"ab"});
  r.size = 48;
  CHECK_THROWS_WITH_AS(generate(r, folder.files("x.png"), quiet()), doctest::Contains("16 or 32 pixels, not of 48"),
                       std::runtime_error);
  r = short_request({"ab"});
  GenerationFiles f = folder.files("x.png");
  f.noise = imagen_file("golden.safetensors");  // of two pictures
  CHECK_THROWS_WITH_AS(generate(r, f, quiet()),
                       doctest::Contains("must be f32 [1, 3, 16, 16] but is f32 [2, 3, 16, 16]"), std::runtime_error);
  CHECK_THROWS_WITH_AS(read_request(folder.root / "config.json"), doctest::Contains("config.json"), std::runtime_error);

  nlohmann::json config = tiny_cascade().to_json();
  config["imagen_version"] = "0.11.3";
  write_json_file(folder.root / "config.json", config);
  CHECK_THROWS_WITH_AS(generate(r, folder.files("x.png"), quiet()), doctest::Contains("0.11.3"), std::runtime_error);
  CHECK(!std::filesystem::exists(folder.root / "x.png"));
}

TEST_CASE("a value that is not finite stops sampling and names the step and the layer") {
  const Folder folder;
  std::vector<NamedTensor> weights = recorded_weights();
  for (NamedTensor& t : weights) {
    if (t.name != "unets.1.ups.0.1.0.block1.project.bias") continue;
    t.tensor = t.tensor.clone();
    t.tensor.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  }
  write_safetensors(folder.root / "model.safetensors", weights);
  CHECK_THROWS_WITH_AS(generate(short_request({"ab"}), folder.files("x.png"), quiet()),
                       doctest::Contains("UNet 1, step 1 of 3: a value of layer ups.0.1.0 is not finite"),
                       std::runtime_error);
}
