// A model on disk: a folder with config.json and model.safetensors.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "nn/params.h"

namespace weft {

/// Makes the folder if need be and replaces both files, each of them atomically; the config is written before the
/// weights and gets its name after them, so that an error such as a full disk leaves the model that was there. Frozen
/// parameters are left out: they are those of another folder.
void save_model_folder(const std::filesystem::path& folder, const nlohmann::json& config, const ParameterSet& set);

}  // namespace weft
