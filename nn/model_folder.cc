#include "nn/model_folder.h"

#include <nlohmann/json.hpp>

#include "tensor/atomic_file.h"

namespace weft {

void save_model_folder(const std::filesystem::path& folder, const nlohmann::json& config, const ParameterSet& set) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check_input(!error, "{}: the folder cannot be made: {}", folder.string(), error.message());
  AtomicFile file(folder / "config.json");
  file.write(config.dump(2) + "\n");
  std::vector<NamedTensor> list;
  for (const Parameter& p : set.all()) {
    if (p.trainable || p.kind == Parameter::Kind::buffer) list.push_back({p.name, p.tensor.detach()});
  }
  write_safetensors(folder / "model.safetensors", list, {{"format", "pt"}});
  file.commit();
}

}  // namespace weft
