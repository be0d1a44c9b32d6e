// What weft-convert and the programs' loaders say to models that are almost right: tensors missing, of other shapes and
// dtypes, configurations with any value in any place. Each is taken, or refused in one line that begins with a file that
// the user knows; numbers from a fixed seed.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "apps/conversion.h"
#include "apps/tower.h"
#include "tensor/json_file.h"
#include "tests/imagen_golden.h"
#include "tests/temporary_folder.h"

using namespace weft;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

struct Original {
  std::string name;
  std::vector<NamedTensor> tensors;
  json config;  // null: none beside
};

Original original(const std::string& name) {
  const fs::path path = fs::path(WEFT_TESTS) / "golden/pretrained" / name;
  const TensorFile file(path);
  Original o{name, {}, {}};
  for (const auto& e : file.entries()) o.tensors.push_back({e.name, file.load(e)});
  const fs::path config = file.path().parent_path() / "config.json";
  if (fs::exists(config)) o.config = read_json_file(config);
  return o;
}

Original cascade() {
  Original o{"cascade", {}, tiny_cascade().to_json()};
  for (const int unet : {0, 1}) {
    const TensorFile weights(imagen_file(fmt::format("unet{}_weights.safetensors", unet)));
    for (const auto& e : weights.entries()) o.tensors.push_back({e.name, weights.load(e)});
  }
  return o;
}

class Mutator {
 public:
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  void change(std::vector<NamedTensor>& tensors) {
    const auto at = static_cast<size_t>(below(static_cast<int64_t>(tensors.size())));
    Tensor& t = tensors[at].tensor;
    const DType dtypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean};
    switch (below(4)) {
      case 0: tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(at)); break;
      case 1: t = Tensor::zeros(t.shape(), dtypes[below(std::size(dtypes))]); break;
      default: t = Tensor::zeros(other_shape(t.shape()), t.dtype());
    }
  }

  /// Any value in any place, or nothing there.
  void change(json& config) {
    json* at = &config;
    while (!at->empty() && at->is_structured()) {
      auto child = std::next(at->begin(), below(static_cast<int64_t>(at->size())));
      if (child->is_structured() && !child->empty() && below(6) > 0) {
        at = &*child;
      } else if (below(6) == 0) {
        at->erase(child);
        return;
      } else {
        *child = other_value(*child);
        return;
      }
    }
  }

 private:
  Shape other_shape(const Shape& shape) {
    std::vector<int64_t> s(shape.begin(), shape.end());
    if (s.empty()) return below(2) ? Shape{0} : Shape{1, 1};
    const auto at = static_cast<size_t>(below(static_cast<int64_t>(s.size())));
    switch (below(7)) {
      case 0: s[at] = 0; break;
      case 1: s[at] = 1; break;
      case 2: s[at] += 1; break;
      case 3: s[at] = std::max<int64_t>(0, s[at] - 1); break;
      case 4: s.erase(s.begin() + static_cast<std::ptrdiff_t>(at)); break;
      case 5: std::reverse(s.begin(), s.end()); break;
      default:  // however large an extent is, none of it is there
        s.push_back(int64_t{1} << below(40));
        s[at] = 0;
    }
    Shape result;
    for (const int64_t extent : s) result.push_back(extent);
    return result;
  }

  json other_value(const json& value) {
    if (value.is_number() && below(2)) {
      const double number = value.get<double>(), others[] = {number + 1, number - 1, 2 * number, number / 2, -number, 0};
      const double other = others[below(std::size(others))];
      return value.is_number_integer() && std::abs(other) < 1e15 ? json(static_cast<int64_t>(other)) : json(other);
    }
    const json values[] = {nullptr, true, 0, 1, -1, 7, 1 << 20, int64_t{1} << 40, INT64_MAX, INT64_MIN, UINT64_MAX, 1e308, -0.5,
                           "x", "", "a\nb", "gelu", json::array(), json::array({1, "x"}), json::object(), json{{"a", 1}}};
    return values[below(std::size(values))];
  }

  std::mt19937_64 random_{20261129};
};

struct Outcomes {
  int taken = 0, refused = 0;
};

// std::runtime_error alone is a refusal: what JSON and the allocator throw is not.
void take_or_refuse(Outcomes& outcomes, const fs::path& known, const std::function<void()>& read) {
  try {
    read();
    ++outcomes.taken;
  } catch (const std::runtime_error& e) {
    const std::string said = e.what();
    INFO(said);
    CHECK(said.starts_with(known.string()));
    CHECK(said.find('\n') == std::string::npos);
    CHECK(said.size() < 2000);
    CHECK(said.find("out of memory") == std::string::npos);
    ++outcomes.refused;
  }
}

// As weft-convert does it.
json convert(const fs::path& source, const fs::path& folder) {
  const TensorFile file(source);
  ConversionOptions options;
  options.source = source;
  const Conversion plan = plan_conversion(file, options);
  std::vector<TensorToWrite> tensors;
  for (const ConvertedTensor& t : plan.tensors) tensors.push_back({t.name, t.dtype, t.shape, t.make});
  fs::create_directories(folder);
  write_safetensors(folder / "model.safetensors", tensors);
  plan.verify(Safetensors(folder / "model.safetensors", source.string() + ", converted"));
  return plan.config;
}

}  // namespace

TEST_CASE("models that are almost right are taken or refused in one line") {
  Mutator mutator;
  for (const Original& o : {original("clip"), original("clip_jit.pt"), original("open_clip.bin"), original("mt5"), original("xlmr"),
                            original("mclip"), original("resnext.pth"), cascade()}) {
    INFO(o.name);
    const TemporaryFolder folder;
    const auto prepare = [&](const std::vector<NamedTensor>& tensors, const json& config) {
      write_safetensors(folder / "source/model.safetensors", tensors);
      if (!config.is_null()) folder.write("source/config.json", config.dump());
    };
    fs::create_directories(folder / "source");
    prepare(o.tensors, o.config);
    const json config = convert(folder / "source/model.safetensors", folder / "model");
    Outcomes conversions, loads;
    for (int i = 0; i < 60; ++i) {
      std::vector<NamedTensor> tensors = o.tensors;
      for (int64_t n = mutator.below(3); n > 0; --n) mutator.change(tensors);
      json changed = o.config.is_null() ? json{{"model_cfg", {{"quick_gelu", true}, {"vision_cfg", {{"heads", 1}}}, {"text_cfg", {{"head_width", 64}}}}}} : o.config;
      for (int64_t n = mutator.below(3); n > 0; --n) mutator.change(changed);
      prepare(tensors, changed);
      take_or_refuse(conversions, folder / "source", [&] { convert(folder / "source/model.safetensors", folder / "other"); });
    }
    CHECK(conversions.taken > 0);
    CHECK(conversions.refused > 0);
    if (o.name == "cascade") continue;
    for (int i = 0; i < 60; ++i) {
      json changed = config;
      mutator.change(changed);
      folder.write("model/config.json", changed.dump());
      take_or_refuse(loads, folder / "model", [&] {
        if (o.name == "resnext.pth" || (o.name.find("clip") != std::string::npos && o.name != "mclip" && i % 2)) {
          ImageTower::load(folder / "model", Device::cpu);
        } else {
          TextTower::load(folder / "model", Device::cpu);
        }
      });
    }
    CHECK(loads.taken > 0);
    CHECK(loads.refused > 0);
  }
}
