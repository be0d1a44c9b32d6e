// A trained classifier as programs use it, EmbraceNet or ResNeXt: its folder, its features, its answers.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/token_table.h"
#include "data/loader.h"
#include "models/embracenet.h"
#include "models/image_classifier.h"

namespace weft {

/// The modalities that are switched on.
struct Modalities {
  bool text = true, image = true, source = false;

  /// "text+image", "image", "text", also with "+source"; the parts in any order.
  static Modalities parse(const std::string& name);
  std::string name() const;
};

/// A trained model of either kind. Its folder: config.json, model.safetensors; an EmbraceNet's also spiece.model and,
/// if its text encoder is frozen, text_encoder/.
struct Classifier {
  std::string name;  // the folder, for errors
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<EmbraceNetClassifier> embracenet;  // reads text, image and label source; or
  std::unique_ptr<ImageClassifier> resnext;          // reads the image alone
  std::optional<SentencePiece> tokenizer;            // an EmbraceNet's

  /// Reads and checks the whole folder. Errors name the file and the tensor or key.
  static Classifier load(const std::filesystem::path& folder, Device device = Device::cpu);

  const std::vector<std::string>& categories() const;
  int64_t image_height() const;
  int64_t image_width() const;
  /// Where the parameters are, and so where inputs belong.
  Device device() const;
  /// Throws std::runtime_error where something is switched on that the model does not read.
  void check_reads(const Modalities& modalities) const;

  /// Columns of dock_images().
  int64_t docked_width() const;
  /// Images [N, H, W, 3] -> what join() takes for them [N, docked_width()]: an EmbraceNet's docked features, a
  /// ResNeXt's logits.
  Tensor dock_images(const Tensor& images) const;
  /// Docked modalities of n items, one a Modality and undefined where absent -> what logits() takes.
  Tensor join(const Tensors& docked) const;
  /// [n, categories], of the modalities that are switched on. With `draw` an EmbraceNet takes one modality for each
  /// position, without it the expectation.
  Tensor logits(const Tensor& joined, const Modalities& modalities, Random* draw) const;
};

/// Docked text [n, C] of some rows in `dtype`. Rows are taken in the order of their lengths, so that little padding is
/// computed.
Tensor dock_texts(const EmbraceNetClassifier& model, const TokenTable& tokens, std::span<const uint32_t> rows,
                  DType dtype);

/// Images of a batch [N, H, W, 3] as a tensor in `dtype`.
Tensor image_tensor(const std::vector<float>& pixels, int64_t count, int64_t height, int64_t width, DType dtype,
                    Device device);

/// One-hot label sources [n, sources] of some rows.
Tensor source_tensor(const GlamiTable& table, std::span<const uint32_t> rows, int64_t sources, DType dtype,
                     Device device);

/// Weights [rows, 3] that switch the same modalities on for every row, each with its selection probability.
Tensor modality_weights(int64_t rows, const Modalities& modalities,
                        const std::array<double, modality_count>& selection = {1, 1, 1});

}  // namespace weft
