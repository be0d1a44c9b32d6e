// torchvision's ResNet and ResNeXt, the GLAMI-1M authors' EmbraceNet checkpoint, and their text-to-image cascade.
#include <algorithm>
#include <map>
#include <numeric>

#include "apps/conversion.h"
#include "data/csv.h"
#include "data/glami.h"
#include "models/cascade.h"
#include "models/embracenet.h"
#include "models/resnext.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"

namespace weft {

namespace {

using Kind = PickleValue::Kind;

// What the names and shapes of a ResNet below `p` say.
ResNextConfig resnext_config(const ConversionBuilder& b, const std::string& p) {
  const std::string file = b.file().path().string();
  check_input(b.has(p + "layer1.0.conv3.weight"), "{}: bottleneck blocks (conv1 to conv3) were expected but the file has the basic blocks of ResNet-18 and 34", file);
  ResNextConfig c;
  c.stem = b.shape(p + "conv1.weight", 4)[0];
  for (int level = 0; level < 4; ++level) {
    const std::string name = fmt::format("{}layer{}.", p, level + 1);
    c.layers[level] = b.count(name, ".conv1.weight");
    c.planes[level] = b.shape(name + "0.conv3.weight", 4)[0] / 4;
  }
  const Shape grouped = b.shape(p + "layer1.0.conv2.weight", 4);
  check_input(grouped[0] % grouped[1] == 0 && c.planes[0] > 0, "{}: tensor {}: shape {} has no whole number of groups", file,
              quote(p + "layer1.0.conv2.weight"), grouped);
  c.groups = grouped[0] / grouped[1];
  const int64_t scaled = grouped[0] * 64;
  check_input(scaled % (c.planes[0] * c.groups) == 0, "{}: {} channels are no whole width per group of {} planes and {} groups",
              file, grouped[0], c.planes[0], c.groups);
  c.width_per_group = scaled / (c.planes[0] * c.groups);
  c.classes = b.has(p + "fc.weight") ? b.shape(p + "fc.weight", 2)[0] : 0;
  return ResNextConfig::from_json(c.to_json(), file);
}

std::string resnext_name(const ResNextConfig& c) {
  const int64_t depth = 2 + 3 * std::accumulate(c.layers.begin(), c.layers.end(), int64_t{0});
  return c.groups > 1 ? fmt::format("ResNeXt-{} {}x{}d", depth, c.groups, c.width_per_group) : fmt::format("ResNet-{}", depth);
}

void take_resnext(ConversionBuilder& b, const std::string& p, const std::string& target) {
  for (const char* part : {"conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."}) b.take_all(p + part, target + part);
}

// {category or source: one-hot list} as text keys and the place of the one.
std::map<std::string, int64_t> one_hot_table(const ConversionBuilder& b, const char* key) {
  const std::string place = b.file().path().string() + ": " + key;
  const Pickle& pickle = b.file().torch()->pickle();
  const PickleValue* table = pickle.find(pickle.root(), key);
  std::map<std::string, int64_t> places;
  if (!table) return places;
  check_input(table->is(Kind::dict), "{}: a dict of one-hot lists was expected but it is {}", place, name_of(table->kind));
  const auto items = pickle.items(*table);
  std::vector<bool> used(items.size() / 2);
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    const std::string name = items[i].is(Kind::text)      ? std::string(pickle.text(items[i]))
                             : items[i].is(Kind::integer) ? std::to_string(items[i].integer)
                                                          : "unknown";  // a missing label source is None or NaN
    const auto row = pickle.items(items[i + 1]);
    int64_t one = -1;
    for (size_t k = 0; k < row.size(); ++k) {
      const double value = row[k].is(Kind::integer) || row[k].is(Kind::boolean) ? static_cast<double>(row[k].integer)
                           : row[k].is(Kind::real)                              ? row[k].real
                                                                                : -1;
      check_input(value == 0 || (value == 1 && one < 0), "{}: {}: a one-hot list was expected", place, quote(name));
      if (value == 1) one = static_cast<int64_t>(k);
    }
    const bool good = one >= 0 && row.size() == used.size() && !used[static_cast<size_t>(one)];
    check_input(good && places.emplace(name, one).second, "{}: {}: a one-hot list of {} numbers, unlike the others, was expected",
                place, quote(name), used.size());
    used[static_cast<size_t>(one)] = true;
  }
  return places;
}

// GLAMI's names of its numbered categories, from the columns `category` and `category_name`.
std::map<std::string, std::string> category_names(const std::filesystem::path& folder) {
  std::map<std::string, std::string> names;
  for (const char* split : {"test", "train"}) {
    const auto file = folder / fmt::format("GLAMI-1M-{}.csv", split);
    if (!std::filesystem::exists(file)) continue;
    CsvReader reader(file);
    const size_t number = reader.column("category"), name = reader.column("category_name");
    while (reader.next()) names.emplace(reader[number], reader[name]);
  }
  check_input(!names.empty(), "{}: GLAMI-1M-test.csv or GLAMI-1M-train.csv was expected", folder.string());
  return names;
}

// Classes sorted by name, as weft's tables have them, and where each was in the file.
std::vector<std::pair<std::string, int64_t>> sorted_classes(ConversionBuilder& b, int64_t classes) {
  std::vector<std::pair<std::string, int64_t>> sorted;
  const std::map<std::string, int64_t> table = one_hot_table(b, "label_binarizer");
  const std::string file = b.file().path().string();
  check_input(table.empty() || static_cast<int64_t>(table.size()) == classes, "{}: label_binarizer: {} categories were expected but it has {}",
              file, classes, table.size());
  std::map<std::string, std::string> names;
  if (!b.options().data.empty()) names = category_names(b.options().data);
  for (const auto& [number, place] : table) {
    const auto known = names.find(number);
    check_input(names.empty() || known != names.end(), "{}: category {} of {} was expected", b.options().data.string(), number, file);
    sorted.emplace_back(names.empty() ? number : known->second, place);
  }
  for (int64_t i = 0; table.empty() && i < classes; ++i) sorted.emplace_back(std::to_string(i), i);
  if (names.empty()) {
    b.result.notes.push_back(table.empty() ? "no label_binarizer in the file: categories are named by their places"
                                           : "categories are named by their numbers: --data FOLDER (GLAMI-1M) gives them their names");
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// The columns of the label sources in weft's order; -1 where the checkpoint never saw one.
std::vector<int64_t> source_columns(ConversionBuilder& b, int64_t sources) {
  const std::map<std::string, int64_t> table = one_hot_table(b, "source_binarizer");
  const std::string file = b.file().path().string();
  std::vector<int64_t> columns(kLabelSources.size(), -1);
  if (table.empty()) {
    check_input(sources == static_cast<int64_t>(columns.size()), "{}: without a source_binarizer, {} label sources were expected but there are {}",
                file, columns.size(), sources);
    std::iota(columns.begin(), columns.end(), 0);
    b.result.notes.push_back("no source_binarizer in the file: its label sources are taken to be in weft's order");
    return columns;
  }
  check_input(static_cast<int64_t>(table.size()) == sources, "{}: source_binarizer: {} label sources were expected but it has {}", file, sources, table.size());
  for (const auto& [name, place] : table) {
    const std::string_view known = name.empty() || name == "nan" || name == "NaN" || name == "None" ? "unknown" : std::string_view(name);
    const auto found = std::find(kLabelSources.begin(), kLabelSources.end(), known);
    check_input(found != kLabelSources.end() && columns[static_cast<size_t>(found - kLabelSources.begin())] < 0,
                "{}: source_binarizer: one of {} was expected, each once, but found {}", file, fmt::format("{}", fmt::join(kLabelSources, ", ")), quote(name));
    columns[static_cast<size_t>(found - kLabelSources.begin())] = place;
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] < 0) b.result.notes.push_back(fmt::format("label source {} is not in the file: its weights are 0", kLabelSources[i]));
  }
  return columns;
}

}  // namespace

bool convert_resnext(ConversionBuilder& b) {
  for (const std::string p : {"", "module.", "state_dict.", "state_dict.module.", "model.", "model_state_dict."}) {
    if (!b.has(p + "layer1.0.conv1.weight") || !b.has(p + "conv1.weight") || !b.has(p + "bn1.running_var")) continue;
    const ResNextConfig config = resnext_config(b, p);
    take_resnext(b, p, "");
    if (config.classes > 0) b.take_all(p + "fc.", "fc.");
    b.result.model = fmt::format("{}, {} classes", resnext_name(config), config.classes);
    b.result.config = config.to_json();
    b.result.config["model_type"] = "resnext";
    b.result.verify = [config](const Safetensors& weights) {
      ParameterSet set;
      const ResNext model(Params(set).trainable(false).from(weights), config);
      set.check_all_used();
    };
    return true;
  }
  return false;
}

bool convert_embracenet(ConversionBuilder& b) {
  std::string p = "model_state_dict.";
  if (!b.has(p + "embracenet.docking_0.weight")) p.clear();
  if (!b.has(p + "embracenet.docking_0.weight") || !b.file().torch()) return false;
  ClassifierConfig config;
  const auto folder = b.options().text_encoder;
  if (!folder.empty()) {
    config.text = T5Config::from_json(read_json_file(folder / "config.json"), (folder / "config.json").string());
  } else {
    b.result.notes.push_back("the text encoder (mT5) is not in the checkpoint: --text-encoder FOLDER (weft-convert's of mT5) puts it in");
  }
  const std::string file = b.file().path().string();
  const Shape text = b.shape(p + "embracenet.docking_0.weight", 2), post = b.shape(p + "post.weight", 2);
  check_input(text[1] % config.text.d_model == 0, "{}: {} text features must be a multiple of the text encoder's width {}", file,
              text[1], config.text.d_model);
  config.max_tokens = text[1] / config.text.d_model;
  config.image = resnext_config(b, p + "pre_2.");
  config.image.classes = 0;
  config.embracement = text[0];
  config.pooling = TextPooling::flatten;
  config.text_frozen = true;
  const auto classes = sorted_classes(b, post[0]);
  std::vector<int64_t> order;
  for (const auto& [name, place] : classes) {
    config.categories.push_back(name);
    order.push_back(place);
  }
  config.label_sources.assign(kLabelSources.begin(), kLabelSources.end());
  take_resnext(b, p + "pre_2.", "pre_2.");
  b.leave(p + "pre_2.fc.", "the image tower's classification layer is not used");
  for (const char* k : {"0", "1"}) b.take_all(fmt::format("{}embracenet.docking_{}.", p, k), fmt::format("embracenet.docking_{}.", k));
  b.take_permuted(p + "embracenet.docking_2.weight", "embracenet.docking_2.weight",
                  source_columns(b, b.shape(p + "embracenet.docking_2.weight", 2)[1]), 1);
  b.take(p + "embracenet.docking_2.bias", "embracenet.docking_2.bias");
  b.take_permuted(p + "post.weight", "post.weight", order);
  b.take_permuted(p + "post.bias", "post.bias", order);
  b.leave("optimizer_state_dict.", "Adam's state: training starts anew");
  b.result.config = config.to_json();
  config = ClassifierConfig::from_json(b.result.config, file);
  b.result.model = fmt::format("EmbraceNet, {} categories, {}", classes.size(), resnext_name(config.image));
  b.result.verify = [config](const Safetensors& weights) {
    ParameterSet set;
    const Params params = Params(set).trainable(false).from(weights);
    const ResNext image(params / "pre_2", config.image);
    const EmbraceNet head(params, config.head());
    set.check_all_used();
  };
  return true;
}

bool convert_cascade(ConversionBuilder& b) {
  // The average is what the authors sample with; ImagenTrainer.save writes it without trainer_state_dict around it.
  std::string p, between;
  for (const auto& [prefix, infix] : {std::pair{"trainer_state_dict.ema_unets.", ".ema_model."}, {"ema_unets.", ".ema_model."},
                                      {"model_state_dict.unets.", "."}, {"unets.", "."}}) {
    if (!p.empty() || !b.has(fmt::format("{}0{}final_conv.weight", prefix, infix))) continue;
    p = prefix;
    between = infix;
  }
  if (p.empty()) return false;
  const int64_t unets = b.count(p, between + "final_conv.weight");
  CascadeConfig config;
  config.compat = Compat::glami;
  if (b.config().is_object() && b.config().contains("unets")) config = CascadeConfig::from_json(b.config(), b.config_name());
  check_input(unets == static_cast<int64_t>(config.unets.size()), "{}: {} UNets were expected but there are {}", b.file().path().string(),
              config.unets.size(), unets);
  for (int64_t i = 0; i < unets; ++i) b.take_all(fmt::format("{}{}{}", p, i, between), fmt::format("unets.{}.", i));
  if (between == ".") b.result.notes.push_back("the file has no average (ema_unets): these are the weights as trained");
  b.leave("model_state_dict.", "the weights as trained: the average of them is what is sampled with");
  b.leave("trainer_state_dict.imagen.", "the weights as trained");
  b.leave("imagen.", "the weights as trained");
  b.leave(p, "the weights as trained, and the average's count of steps");
  b.result.model = fmt::format("the text-to-image cascade, {} UNets to {} pixels", unets, config.image_sizes.back());
  b.result.config = config.to_json();
  b.result.config["model_type"] = "cascade";
  b.result.verify = [config](const Safetensors& weights) {
    ParameterSet set;
    const Cascade model(Params(set).trainable(false).from(weights), config);
    set.check_all_used();
  };
  return true;
}

}  // namespace weft
