#include "nn/checkpoint.h"

#include <charconv>
#include <unordered_set>

#include "tensor/atomic_file.h"

namespace weft {

namespace {

constexpr const char* version_key = "weft_checkpoint";
constexpr const char* version = "1";
constexpr std::string_view note_prefix = "note.";

// Everything that changes in training, sharing memory with its owners.
std::vector<NamedTensor> all_state(const ParameterSet& set, const Optimizer& optimizer, const Ema* ema) {
  std::vector<NamedTensor> list;
  const auto add = [&](const char* owner, const std::string& name, const Tensor& tensor) {
    list.push_back({fmt::format("{}.{}", owner, name), tensor});
  };
  for (const Parameter& p : set.all()) {
    if (p.trainable || p.kind == Parameter::Kind::buffer) add("model", p.name, p.tensor.detach());
  }
  for (const NamedTensor& t : optimizer.state()) add("optimizer", t.name, t.tensor);
  if (ema) {
    for (const NamedTensor& t : ema->state()) add("ema", t.name, t.tensor);
  }
  return list;
}

// The whole numbers of a TrainingState and their keys.
template <class State, class F>
void for_numbers(State& state, F&& f) {
  f("step", state.step);
  f("epoch", state.epoch);
  f("batch", state.batch);
  f("random_seed", state.random.seed);
  f("random_offset", state.random.offset);
}

const std::string& value_of(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  check_input(found != file.metadata().end(), "{}: metadata {} is missing", file.path(), quote(key));
  return found->second;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const ParameterSet& set, const Optimizer& optimizer,
                     const Ema* ema, const TrainingState& state) {
  std::map<std::string, std::string> metadata{{version_key, version}, {"optimizer", optimizer.name()}};
  for_numbers(state, [&](const char* key, const auto& number) { metadata[key] = std::to_string(number); });
  for (const auto& [key, text] : state.notes) metadata[fmt::format("{}{}", note_prefix, key)] = text;
  write_safetensors(path, all_state(set, optimizer, ema), metadata);
}

TrainingState load_checkpoint(const std::filesystem::path& path, const ParameterSet& set, Optimizer& optimizer,
                              Ema* ema) {
  const Safetensors file(path);
  const std::string& found = value_of(file, version_key);
  check_input(found == version, "{}: the version of the checkpoint must be {} but is {}", file.path(), version,
              quote(found));
  const std::string& kind = value_of(file, "optimizer");
  check_input(kind == optimizer.name(), "{}: the optimizer must be {} but was {}", file.path(), optimizer.name(),
              quote(kind));

  TrainingState state;
  for_numbers(state, [&]<class T>(const char* key, T& number) {
    const std::string& text = value_of(file, key);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    check_input(error == std::errc() && end == text.data() + text.size() && number >= T{0},
                "{}: metadata {} must be a whole number of at least 0 but is {}", file.path(), key, quote(text));
  });
  for (const auto& [key, text] : file.metadata()) {
    if (key.starts_with(note_prefix)) state.notes[key.substr(note_prefix.size())] = text;
  }

  const std::vector<NamedTensor> tensors = all_state(set, optimizer, ema);
  std::unordered_set<std::string> names;
  for (const NamedTensor& t : tensors) {
    const Safetensors::Entry* entry = file.find(t.name);
    check_input(entry, "{}: tensor {} is missing", file.path(), quote(t.name));
    check_input(entry->shape == t.tensor.shape() && entry->dtype == t.tensor.dtype(),
                "{}: tensor {} must be {} {} but is {} {}", file.path(), quote(t.name), t.tensor.dtype(),
                t.tensor.shape(), entry->dtype, entry->shape);
    names.insert(t.name);
  }
  for (const Safetensors::Entry& entry : file.entries()) {
    check_input(names.contains(entry.name), "{}: tensor {} is not part of this training", file.path(),
                quote(entry.name));
  }
  for (const NamedTensor& t : tensors) t.tensor.copy_from(file.tensor(t.name));
  return state;
}

}  // namespace weft
