// One door for every format: shards and folders, and what is none of them.
#include "tensor/files/tensor_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tensor/json_file.h"
#include "tests/temporary_folder.h"

#include <nlohmann/json.hpp>

using namespace weft;

namespace {

std::string refusal(const std::filesystem::path& path) {
  try {
    const TensorFile file(path);
  } catch (const std::runtime_error& e) {
    const std::string text = e.what(), prefix = path.string() + ": ";
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.starts_with(prefix));
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "accepted";
}

}  // namespace

TEST_CASE("shards are found through their index") {
  const TemporaryFolder folder;
  write_safetensors(folder / "m-1.safetensors", {{"a", Tensor::full({2}, 1)}, {"extra", Tensor::full({1}, 9)}});
  write_safetensors(folder / "m-2.safetensors", {{"b", Tensor::full({3}, 2, DType::bf16)}});
  folder.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 14}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}})");
  const TensorFile file(folder.path());  // a folder is opened by the names of the Hugging Face hub
  CHECK(file.format() == "safetensors in 2 files");
  CHECK(file.entries().size() == 2);
  CHECK(file.load("a").to_doubles() == std::vector<double>{1, 1});
  CHECK(file.load("b").dtype() == DType::bf16);
  CHECK_FALSE(file.find("extra"));
}

TEST_CASE("attacks on an index") {
  const TemporaryFolder folder;
  write_safetensors(folder / "m.safetensors", {{"a", Tensor::full({2}, 1)}});
  const auto index = [&](const std::string& json) { return refusal(folder.write("x.index.json", json)); };
  CHECK(index(R"({"weight_map": {"a": "m.safetensors"}})") == "accepted");
  CHECK(index("[]") == "an object with \"weight_map\" (tensor: file) was expected");
  CHECK(index("{}") == "an object with \"weight_map\" (tensor: file) was expected");
  CHECK(index(R"({"weight_map": {}})") == "from 1 to 1024 files were expected but there are 0");
  CHECK(index(R"({"weight_map": {"a": 1}})") == "tensor 'a': the name of a file was expected");
  for (const std::string name : {"../m.safetensors", "/etc/passwd", "..", "", "x.index.json", "m.safetensors\\u0000"}) {
    CHECK(index(R"({"weight_map": {"a": ")" + name + "\"}}").starts_with("tensor 'a': a file beside the index was expected but found"));
  }
  CHECK(index(R"({"weight_map": {"b": "m.safetensors"}})") == "tensor 'b': 'm.safetensors' was expected to have it but does not");
  CHECK(index("{\"weight_map\": ").ends_with("valid JSON was expected"));
}

TEST_CASE("what is none of the formats") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.write("a", "")) ==
        "a safetensors, PyTorch (.pt, .pth, .bin), .npy or .npz file was expected but it begins with ''");
  CHECK(refusal(folder.write("a", "GGUF\3\1\1\1\1\1\1")) ==
        "a safetensors, PyTorch (.pt, .pth, .bin), .npy or .npz file was expected but it begins with 'GGUF\\x03\\x01\\x01\\x01'");
  CHECK(refusal(folder / "none") == "cannot be opened: No such file or directory");
  CHECK(refusal(folder.path()).starts_with("a folder with model.safetensors or pytorch_model.bin was expected"));
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(refusal(folder / "pipe") == "must be a regular file");
}

TEST_CASE("JSON is bounded in depth, tokens and values") {
  const auto refused = [](const std::string& text) {
    try {
      parse_json(text, "f");
    } catch (const std::runtime_error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  CHECK(refused(std::string(60, '[') + std::string(60, ']')) == "accepted");
  CHECK(refused(std::string(1'000'000, '[')) == "f: JSON of at most 64 levels was expected");
  CHECK(refused("\"" + std::string(5 << 20, 'x') + "\"").ends_with("no text, number or run of spaces may have more than 4194304 bytes"));
  std::string many = "[0";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  CHECK(refused(many + "]").starts_with("f: JSON of 2000003 bytes has more values than"));
  CHECK(refused("1e999") == "f: numbers that fit into 64 bits were expected");
  CHECK(refused("") == "f: byte 1: valid JSON was expected");
}

TEST_CASE("a copied tensor's pages can be given back") {
  const TemporaryFolder folder;
  write_safetensors(folder / "m", {{"a", Tensor::full({100'000}, 3)}});
  const Safetensors file(folder / "m");
  const Tensor a = file.tensor("a");
  CHECK(a.to_doubles()[99'999] == 3);
  file.forget("a");
  CHECK(a.to_doubles()[99'999] == 3);
}
