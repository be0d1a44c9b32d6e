// From a file of tensors as its authors publish it to a weft model folder: which model it holds, which tensor becomes
// which, what is left out and why.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tensor/files/tensor_file.h"

namespace weft {

/// One tensor of the model folder. Shape and dtype are known before the bytes are.
struct ConvertedTensor {
  std::string name, source;  // in the folder; in the file, for the table
  DType dtype = DType::f32;
  Shape shape;
  std::function<Tensor()> make;
  std::vector<TensorFile::Entry> used;  // of the file, whose pages can go once it is made
};

struct Conversion {
  std::string model;  // "mT5 encoder, 8 layers of width 512"
  nlohmann::json config;
  std::vector<ConvertedTensor> tensors;
  struct LeftOut {
    std::string name, why;
    Shape shape;
    DType dtype;
  };
  std::vector<LeftOut> left_out;
  std::vector<std::string> notes;  // what had to be assumed
  /// Builds the model from a weights file, so that a folder that cannot be loaded is never left behind.
  std::function<void(const Safetensors& weights)> verify;
};

struct ConversionOptions {
  std::filesystem::path source;        // as the user gave it; files beside it may say more
  std::filesystem::path config;        // a config.json instead of the one beside the source; may be empty
  std::filesystem::path data;          // a GLAMI-1M folder, for EmbraceNet's category names; may be empty
  std::filesystem::path text_encoder;  // a weft folder, for EmbraceNet; may be empty
};

/// Recognises the model by its tensors' names. Throws std::runtime_error naming the file: no known model, a tensor that
/// is missing or has another shape than its neighbours ask for, a config.json that says otherwise.
Conversion plan_conversion(const TensorFile& file, const ConversionOptions& options);

/// What the recognisers share: takes tensors off a list, so that what is left over is known.
class ConversionBuilder {
 public:
  ConversionBuilder(const TensorFile& file, const ConversionOptions& options);

  Conversion result;
  const TensorFile& file() const { return file_; }
  const ConversionOptions& options() const { return options_; }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  /// The shape of a tensor that must be there with that many axes.
  Shape shape(const std::string& name, int rank) const;
  /// How many of prefix0, prefix1, ... are there, each followed by `rest`.
  int64_t count(const std::string& prefix, const std::string& rest) const;

  /// The tensor under another name, or changed on the way.
  void take(const std::string& name, const std::string& target);
  void take_transposed(const std::string& name, const std::string& target);
  /// Tensors joined along their first axis.
  void take_joined(const std::vector<std::string>& names, const std::string& target);
  /// Rows (or columns, for a matrix where `axis` is 1) in another order; -1: zeros.
  void take_permuted(const std::string& name, const std::string& target, const std::vector<int64_t>& order, int axis = 0);
  /// The elements with another shape.
  void take_reshaped(const std::string& name, const std::string& target, const Shape& shape);
  /// Every tensor whose name begins with `prefix` and that is not yet taken: `target` instead of the prefix.
  void take_all(const std::string& prefix, const std::string& target);
  /// Every tensor with that beginning (and ending) that is not yet taken is left out.
  void leave(const std::string& prefix, const std::string& why, const std::string& ending = "");

  /// The config.json of the options or beside the source; null if there is none.
  const nlohmann::json& config() const { return config_; }
  std::string config_name() const { return config_file_.string(); }
  /// A whole number that the shapes say and that the config, if it has the key, must say too.
  void must_agree(const char* key, int64_t found) const;
  /// The config's value of a key, or another.
  nlohmann::json config_or(const char* key, nlohmann::json otherwise) const;

 private:
  const TensorFile::Entry& use(const std::string& name);
  void add(const std::string& target, std::vector<TensorFile::Entry> used, const Shape& shape, std::function<Tensor()> make);

  const TensorFile& file_;
  const ConversionOptions& options_;
  nlohmann::json config_;
  std::filesystem::path config_file_;
  std::vector<bool> taken_;
};

/// Each takes its model's tensors if the file has the model, and says whether it has.
bool convert_t5(ConversionBuilder& b);
bool convert_xlm_roberta(ConversionBuilder& b);
bool convert_clip(ConversionBuilder& b);
bool convert_resnext(ConversionBuilder& b);
bool convert_embracenet(ConversionBuilder& b);
bool convert_cascade(ConversionBuilder& b);

}  // namespace weft
