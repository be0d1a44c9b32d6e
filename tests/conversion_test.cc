// weft-convert's tables on tiny files of the original libraries: every model is recognised, built, and says what the
// original says.
#include "apps/conversion.h"

#include <doctest/doctest.h>

#include <cmath>

#include "models/clip.h"
#include "tensor/autograd.h"
#include "tests/imagen_golden.h"
#include "tests/temporary_folder.h"

using namespace weft;
namespace fs = std::filesystem;

namespace {

const fs::path pretrained = fs::path(WEFT_TESTS) / "golden/pretrained";

struct Converted {
  TensorFile file;
  Conversion plan;
  TemporaryFolder folder;

  explicit Converted(const fs::path& path, ConversionOptions options = {}) : file(path) {
    options.source = path;
    plan = plan_conversion(file, options);
    std::vector<NamedTensor> tensors;
    for (const ConvertedTensor& t : plan.tensors) {
      tensors.push_back({t.name, t.make()});
      CHECK(tensors.back().tensor.shape() == t.shape);
    }
    write_safetensors(folder / "m", tensors);
    plan.verify(Safetensors(folder / "m"));
  }
  Tensor operator[](const std::string& name) const { return Safetensors(folder / "m").tensor(name); }
  int64_t left(const std::string& why) const {
    return std::count_if(plan.left_out.begin(), plan.left_out.end(), [&](const auto& l) { return l.why == why; });
  }
};

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.to_doubles(), y = b.to_doubles();
  double worst = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double apart = std::abs(x[i] - y[i]);
    if (!(apart <= worst)) worst = apart;
    scale = std::max(scale, std::abs(y[i]));
  }
  return worst / scale;
}

std::string refusal(const fs::path& path, const ConversionOptions& options = {}) {
  try {
    const TensorFile file(path);
    plan_conversion(file, options);
  } catch (const std::runtime_error& e) {
    CHECK(std::string(e.what()).find('\n') == std::string::npos);
    return e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("Hugging Face's CLIP says what it said before") {
  const Converted clip(pretrained / "clip");
  const ClipConfig config = ClipConfig::from_json(clip.plan.config, "config");
  CHECK(config.vision.heads == 2);
  CHECK(config.text.heads == 3);
  CHECK(config.quick_gelu);
  ParameterSet set;
  const Clip model(Params(set).from(Safetensors(clip.folder / "m")), config);
  set.check_all_used();
  const Safetensors golden(pretrained / "clip.safetensors");
  const NoGrad no_grad;
  const Tensor image = model.visual(golden.tensor("input.image").clone()), text = model.text(golden.tensor("input.ids"), DType::f32);
  CHECK(largest_difference(image, golden.tensor("image")) < 1e-5);
  CHECK(largest_difference(text, golden.tensor("text")) < 1e-5);
  CHECK(largest_difference(clip_logits(image, text, model.logit_scale), golden.tensor("logits")) < 1e-5);
}

TEST_CASE("open_clip's checkpoint and a TorchScript archive of the same CLIP") {
  const Converted open(pretrained / "open_clip.bin"), script(pretrained / "clip_jit.pt");
  CHECK(script.file.format() == "TorchScript");
  CHECK(script.plan.config["quick_gelu"] == true);
  CHECK(open.plan.config["quick_gelu"] == false);
  CHECK(open.plan.notes.size() == 1);
  CHECK(script.left("said by the shapes") == 3);
  CHECK(script.left("the causal mask") == 1);
  REQUIRE(open.plan.tensors.size() == script.plan.tensors.size());
  for (const ConvertedTensor& t : open.plan.tensors) CHECK(open[t.name].to_doubles() == script[t.name].to_doubles());
}

TEST_CASE("mT5's encoder comes out of the whole model") {
  const Converted mt5(pretrained / "mt5");
  CHECK(mt5.plan.config["relative_attention_max_distance"] == 20);
  CHECK(mt5.plan.config["num_layers"] == 2);
  CHECK(mt5.left("the decoder: only the encoder is used") > 10);
  CHECK(mt5.left("not part of the model") == 0);
}

TEST_CASE("XLM-RoBERTa, and M-CLIP's text tower on it") {
  const Converted xlmr(pretrained / "xlmr"), mclip(pretrained / "mclip");
  CHECK(xlmr.plan.config["num_attention_heads"] == 4);
  CHECK(xlmr.left("the masked language model's output layer") > 0);
  CHECK(xlmr.left("not part of the model") == 0);
  CHECK(mclip.plan.config["numDims"] == 8);
  CHECK(mclip.plan.config["model_type"] == "M-CLIP");
  CHECK(mclip.left("the pooler: the model averages the last hidden state") == 2);
  CHECK(mclip["transformer.embeddings.word_embeddings.weight"].shape() == Shape{30, 64});
}

TEST_CASE("torchvision's ResNeXt") {
  const Converted resnext(pretrained / "resnext.pth");
  CHECK(resnext.plan.config["groups"] == 2);
  CHECK(resnext.plan.config["width_per_group"] == 32);
  CHECK(resnext.plan.config["classes"] == 6);
  CHECK(resnext.plan.left_out.empty());
}

TEST_CASE("the authors' EmbraceNet: classes and label sources in weft's order") {
  const TemporaryFolder data;
  data.write("GLAMI-1M-test.csv", "category_name,category\nzebra,7\napple,12\nmiddle,105\n");
  data.write("text/config.json",
             R"({"vocab_size": 40, "d_model": 16, "d_kv": 4, "num_heads": 3, "d_ff": 24, "num_layers": 2})");
  ConversionOptions options;
  options.text_encoder = data / "text";
  const Converted numbered(pretrained / "embracenet.pt", options);
  options.data = data.path();
  const Converted named(pretrained / "embracenet.pt", options);
  CHECK(numbered.plan.config["categories"] == nlohmann::json{"105", "12", "7"});
  CHECK(named.plan.config["categories"] == nlohmann::json{"apple", "middle", "zebra"});
  CHECK(named.plan.config["max_tokens"] == 4);
  const Tensor post = named.file.load("model_state_dict.post.weight"), sources = named.file.load("model_state_dict.embracenet.docking_2.weight");
  const int64_t row_of[] = {1, 2, 0}, column_of[] = {1, 2, -1, 0, -1};  // of apple, middle, zebra; unknown, admin, ...
  for (int64_t c = 0; c < 3; ++c) {
    CHECK(named["post.weight"].leading(c, c + 1).to_doubles() == post.leading(row_of[c], row_of[c] + 1).to_doubles());
    CHECK(numbered["post.weight"].leading(c, c + 1).to_doubles() == post.leading(2 - c, 3 - c).to_doubles());
  }
  const auto from = sources.to_doubles(), to = named["embracenet.docking_2.weight"].to_doubles();
  for (size_t row = 0; row < 10; ++row) {
    for (size_t s = 0; s < 5; ++s) CHECK(to[row * 5 + s] == (column_of[s] < 0 ? 0 : from[row * 3 + static_cast<size_t>(column_of[s])]));
  }
  CHECK(named.left("Adam's state: training starts anew") == 2);
  data.write("GLAMI-1M-test.csv", "category_name,category\nzebra,7\n");
  CHECK(refusal(pretrained / "embracenet.pt", options).ends_with("category 105 of " + (pretrained / "embracenet.pt").string() + " was expected"));
}

TEST_CASE("the cascade's averages come out of the trainer's checkpoint") {
  const TemporaryFolder folder;
  std::vector<NamedTensor> saved;
  for (const int i : {0, 1}) {
    const TensorFile weights(imagen_file(fmt::format("unet{}_weights.safetensors", i)));
    for (const auto& e : weights.entries()) {
      const std::string name = e.name.starts_with("unets.") ? e.name.substr(8) : e.name;
      saved.push_back({fmt::format("trainer_state_dict.ema_unets.{}.ema_model.{}", i, name), weights.load(e)});
      saved.push_back({fmt::format("trainer_state_dict.ema_unets.{}.online_model.{}", i, name), Tensor::zeros(e.shape)});
      saved.push_back({fmt::format("model_state_dict.unets.{}.{}", i, name), Tensor::zeros(e.shape)});
    }
    saved.push_back({fmt::format("trainer_state_dict.ema_unets.{}.step", i), Tensor::zeros({1}, DType::i64)});
  }
  write_safetensors(folder / "imagen", saved);
  folder.write("tiny.json", tiny_cascade().to_json().dump());
  ConversionOptions options;
  options.config = folder / "tiny.json";
  const Converted cascade(folder / "imagen", options);
  CHECK(cascade.plan.tensors.size() * 3 + 2 == saved.size());
  CHECK(cascade["unets.1.final_conv.weight"].to_doubles() == cascade.file.load("trainer_state_dict.ema_unets.1.ema_model.final_conv.weight").to_doubles());
  CHECK(refusal(folder / "imagen") == "accepted");  // a plan; building the full-size model from it is refused
  CHECK_THROWS_AS(Converted{folder / "imagen"}, std::runtime_error);
}

TEST_CASE("what is not recognised, or says two things") {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {{"a", Tensor::zeros({1})}});
  CHECK(refusal(folder / "x") == (folder / "x").string() + ": the tensors' names must be those of mT5, XLM-R or M-CLIP, CLIP, ResNeXt, "
                                                           "EmbraceNet or the cascade but the first is 'a'");
  fs::copy(pretrained / "xlmr", folder / "xlmr");
  folder.write("xlmr/config.json", R"({"hidden_size": 32})");
  CHECK(refusal(folder / "xlmr") == (folder / "xlmr/config.json").string() + ": hidden_size is 32 but the tensors of " +
                                        (folder / "xlmr/model.safetensors").string() + " say 16");
  folder.write("xlmr/config.json", R"({"model_type": "bert"})");
  CHECK(refusal(folder / "xlmr").ends_with("model_type must be \"xlm-roberta\" or \"M-CLIP\" but is \"bert\""));
  folder.write("xlmr/config.json", "[1]");
  CHECK(refusal(folder / "xlmr") == (folder / "xlmr/config.json").string() + ": a JSON object was expected");
  write_safetensors(folder / "y", {{"layer1.0.conv1.weight", Tensor::zeros({4, 4, 1, 1})}, {"conv1.weight", Tensor::zeros({4, 3, 7, 7})},
                                   {"bn1.running_var", Tensor::zeros({4})}});
  CHECK(refusal(folder / "y").ends_with("but the file has the basic blocks of ResNet-18 and 34"));
}
