#include "apps/zeroshot.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/program.h"
#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "models/clip.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// The unit vector of every category's prompt [categories, D].
Tensor targets_of(const CategoryIndex& categories, const TextEmbedder& embed) {
  std::vector<std::string> prompts;
  for (const std::string& name : categories.names()) prompts.push_back(zero_shot_prompt(name));
  return normalize(cast(embed(prompts), DType::f32)).to(Device::cpu);
}

}  // namespace

std::string zero_shot_prompt(const std::string& category) {
  std::string name = category;
  name.erase(0, std::min(name.find_first_not_of(" \t\r\n"), name.size()));
  name.erase(name.find_last_not_of(" \t\r\n") + 1);
  // In the benchmark's order.
  for (const auto& [from, to] : {std::pair{"women-s", "women's"}, {"womens", "women's"}, {"men-s", "men's"},
                                 {"mens", "men's"}, {"-", " "}, {" and ", " or "}}) {
    replace_all(name, from, to);
  }
  return "A photo of a " + name + ", a type of fashion product";
}

Evaluation evaluate_zero_shot(const GlamiTable& table, const EmbeddingStore& images, const EmbeddingStore& texts,
                              const TextEmbedder& prompts) {
  const NoGrad no_grad;
  std::vector<uint32_t> rows;
  std::map<int, int64_t> frequency;
  for (uint32_t row = 0; row < table.size(); ++row) {
    if (!images.has(EmbeddingStore::image_key(table[row].image_id))) continue;
    rows.push_back(row);
    ++frequency[table[row].category];
  }
  check_input(!rows.empty(), "{}: no item's image has an embedding", table.file().string());
  const Tensor targets = targets_of(table.categories(), prompts);
  check_input(images.width() == targets.dim(1) && texts.width() == targets.dim(1),
              "embeddings of images, texts and prompts must be equally wide but have {}, {} and {} dimensions",
              images.width(), texts.width(), targets.dim(1));
  Evaluation result;
  result.items = static_cast<int64_t>(rows.size());
  result.skipped = static_cast<int64_t>(table.size()) - result.items;
  const auto top = std::max_element(frequency.begin(), frequency.end(),
                                    [](const auto& a, const auto& b) { return a.second < b.second; });
  result.majority = table.categories().name(top->first);
  result.majority_top1 = static_cast<double>(top->second) / static_cast<double>(result.items);

  const char* const names[] = {"text+image", "image", "text"};
  std::vector<AccuracyCounter> counters;
  for (const char* name : names) counters.emplace_back(table, name, "zero-shot");
  const int64_t k = std::min<int64_t>(5, targets.dim(0));
  constexpr size_t batch = 4096;
  for (size_t begin = 0; begin < rows.size(); begin += batch) {
    const size_t end = std::min(rows.size(), begin + batch);
    std::vector<uint64_t> image_keys, text_keys;
    for (size_t i = begin; i < end; ++i) {
      image_keys.push_back(EmbeddingStore::image_key(table[rows[i]].image_id));
      text_keys.push_back(EmbeddingStore::text_key(table.text(rows[i])));
    }
    const Tensor image = images.rows(image_keys, "an image"), text = texts.rows(text_keys, "a text");
    const Tensor embeddings[] = {add(image, text), image, text};
    for (size_t which = 0; which < 3; ++which) {
      const Tensor cosines = matmul(normalize(embeddings[which]), targets, {}, {.transpose_b = true});
      const Tensor best = topk(cosines, k).indices;
      for (size_t i = begin; i < end; ++i) {
        const int64_t* ids = best.data<int64_t>() + static_cast<int64_t>(i - begin) * k;
        const int64_t label = table[rows[i]].category;
        counters[which].count(rows[i], ids[0] == label, std::find(ids, ids + k, label) != ids + k);
      }
    }
  }
  for (AccuracyCounter& counter : counters) counter.finish(result.rows, result.rows_without_flags);
  return result;
}

int run_zero_shot(int argc, char** argv) {
  CLI::App app{"Zero-shot classification from embeddings made by weft-embed: every item gets the category whose description\n"
               "lies nearest; by text and image together, by each alone, overall and for each language."};
  app.name("weft-evaluate zeroshot");
  app.footer("Example: weft-evaluate zeroshot --data GLAMI-1M-dataset --embeddings embeddings --prompt-model models/clip");
  std::filesystem::path data, embeddings, prompt_model;
  std::string split = "test", json_file;
  CommonOptions common;
  app.add_option("--data", data, "Data folder")->required();
  app.add_option("--embeddings", embeddings, "Folder that weft-embed wrote, with images and texts")->required();
  app.add_option("--prompt-model", prompt_model, "The model whose text tower reads the categories: the images' CLIP")->required();
  app.add_option("--split", split, "train or test")->check(CLI::IsMember({"train", "test"}))->capture_default_str();
  app.add_option("--json", json_file, "Also write the figures to this file; - prints them on stdout and nothing else");
  common.add_compute(app);
  return run_program(argc, argv, app, [&] {
    const GlamiTable table = read_glami(data, split);
    const TextEmbedder prompts(prompt_model, 77, dtype_from_name(common.dtype), device_from_name(common.device));
    const Evaluation result =
        evaluate_zero_shot(table, EmbeddingStore(embeddings / "images"), EmbeddingStore(embeddings / "texts"), prompts);
    if (json_file == "-") {
      fmt::print("{}\n", result.to_json().dump(2));
      return;
    }
    fmt::print("{}", result.to_text());
    if (!json_file.empty()) write_json_file(json_file, result.to_json());
  });
}

}  // namespace weft
