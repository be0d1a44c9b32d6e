// weft-generate: what is asked for, and its run.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/program.h"
#include "apps/text_to_image.h"

namespace weft {

/// What a picture depends on beside the model: kept in its PNG's text chunk "weft".
struct GenerationRequest {
  std::vector<std::string> texts;
  int64_t count = 1;  // pictures of each text
  bool grid = false;  // one file with all pictures; several texts always make one
  uint64_t seed = 0;
  int64_t steps = 50;
  std::string sampler = "dpm++";
  double guidance = 8;
  std::string compat;  // fixed, glami, or empty: the model's own
  int64_t size = 0;    // one of the model's image sizes; 0: the last
  std::string dtype = "f32";

  static GenerationRequest from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

struct GenerationFiles {
  std::filesystem::path model, out;
  std::filesystem::path preview;            // empty: none
  std::filesystem::path noise, embeddings;  // safetensors to use in place of a seed and of texts; empty: none
  int64_t batch = 8;                        // pictures at a time
};

/// The request in a PNG that weft-generate wrote.
GenerationRequest read_request(const std::filesystem::path& png);

/// Draws and writes. Throws on bad input; an interrupt writes the pictures that are done and throws.
void generate(const GenerationRequest& request, const GenerationFiles& files, const CommonOptions& common);

}  // namespace weft
