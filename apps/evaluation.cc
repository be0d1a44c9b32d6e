#include "apps/evaluation.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "apps/progress.h"
#include "kernels/arrange.h"
#include "kernels/reduce.h"
#include "models/naive_bayes.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

struct DockedImages {
  Tensor docked;                                  // [images, C]
  std::unordered_map<int64_t, int64_t> row_of;    // image_id -> row
};

// The image tower runs once for each distinct image.
DockedImages dock_images(const Classifier& model, const GlamiTable& table, const std::vector<uint32_t>& rows,
                         const EvaluationOptions& options) {
  std::vector<uint32_t> firsts;
  DockedImages result;
  std::unordered_map<int64_t, bool> seen;
  for (uint32_t row : rows) {
    if (!std::exchange(seen[table[row].image_id], true)) firsts.push_back(row);
  }
  result.docked =
      Tensor::empty({static_cast<int64_t>(firsts.size()), model.docked_width()}, options.dtype, model.device());
  LoaderOptions load;
  load.height = static_cast<int>(model.image_height());
  load.width = static_cast<int>(model.image_width());
  load.batch = std::max<int64_t>(1, 64 * 64 * 128 / (load.height * load.width));
  load.cache_bytes = 0;
  load.max_broken = options.max_broken;
  load.on_broken = [](const std::string& error) { report_line("skipped: " + error); };
  Loader loader(table, firsts, load);
  Progress progress("images", static_cast<int64_t>(firsts.size()), "images", options.quiet);
  int64_t done = 0;
  while (const std::optional<Batch> batch = loader.next()) {
    const Tensor docked = model.dock_images(image_tensor(batch->images, batch->image_count, batch->height, batch->width,
                                                         options.dtype, model.device()));
    result.docked.leading(done, done + batch->image_count).copy_from(docked);
    for (size_t i = 0; i < batch->items.size(); ++i)
      result.row_of[table[batch->items[i]].image_id] = done + batch->image_of_item[i];
    done += batch->image_count;
    progress.update(done);
  }
  return result;
}

void dock_text_and_source(const EmbraceNetClassifier& model, const GlamiTable& table, const TokenTable& tokens,
                          std::span<const uint32_t> rows, DType dtype, Tensors& docked) {
  docked[text_modality] = dock_texts(model, tokens, rows, dtype);
  const int64_t sources = model.head.config.inputs[source_modality];
  docked[source_modality] =
      model.head.dock(source_modality, source_tensor(table, rows, sources, dtype, model.device()));
}

nlohmann::json json_rows(const std::vector<AccuracyRow>& rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const AccuracyRow& row : rows) {
    const double n = static_cast<double>(row.items);
    list.push_back({{"modalities", row.modalities},
                    {"inference", row.inference},
                    {"geo", row.geo},
                    {"items", row.items},
                    {"top1", row.top1 / n},
                    {"top5", row.top5 / n}});
  }
  return list;
}

}  // namespace

AccuracyCounter::AccuracyCounter(const GlamiTable& table, std::string modalities, std::string inference)
    : table_(table), modalities_(std::move(modalities)), inference_(std::move(inference)),
      flags_(table.categories().find("country-flag").value_or(-1)) {}

void AccuracyCounter::count(uint32_t row, bool first, bool among_five) {
  const auto add = [&](AccuracyRow& to) {
    ++to.items;
    to.top1 += first;
    to.top5 += among_five;
  };
  const Item& item = table_[row];
  add(all_);
  add(geos_[item.geo]);
  if (flags_ >= 0 && item.category != flags_) add(without_flags_);
}

void AccuracyCounter::finish(std::vector<AccuracyRow>& rows, std::vector<AccuracyRow>& without_flags) const {
  const auto named = [&](AccuracyRow row, std::string_view geo) {
    row.modalities = modalities_;
    row.inference = inference_;
    row.geo = geo;
    return row;
  };
  rows.push_back(named(all_, "all"));
  for (const auto& [geo, row] : geos_) rows.push_back(named(row, kGeos[geo].code));
  if (without_flags_.items > 0) without_flags.push_back(named(without_flags_, "all"));
}

Evaluation evaluate(const Classifier& model, const GlamiTable& table, const std::vector<uint32_t>& all_rows,
                    const EvaluationOptions& options, const GlamiTable* train,
                    const std::vector<uint32_t>& train_rows) {
  check_input(!all_rows.empty(), "{}: there is nothing to evaluate", table.file().string());
  for (const Modalities& m : options.modalities) model.check_reads(m);
  const NoGrad no_grad;
  Evaluation result;
  const bool sampled = options.sampled && model.embracenet;
  const bool images_wanted =
      std::any_of(options.modalities.begin(), options.modalities.end(), [](const Modalities& m) { return m.image; });
  DockedImages images;
  if (images_wanted) images = dock_images(model, table, all_rows, options);
  std::vector<uint32_t> rows;
  for (uint32_t row : all_rows) {
    if (!images_wanted || images.row_of.contains(table[row].image_id)) rows.push_back(row);
  }
  result.items = static_cast<int64_t>(rows.size());
  result.skipped = static_cast<int64_t>(all_rows.size() - rows.size());
  check_input(result.items > 0, "{}: none of the {} items has a readable image", table.file().string(),
              all_rows.size());

  std::map<int, int64_t> frequency;
  for (uint32_t row : rows) ++frequency[table[row].category];
  const auto top = std::max_element(frequency.begin(), frequency.end(),
                                    [](const auto& a, const auto& b) { return a.second < b.second; });
  result.majority = table.categories().name(top->first);
  result.majority_top1 = static_cast<double>(top->second) / static_cast<double>(result.items);

  std::optional<TokenTable> tokens;
  if (model.embracenet) tokens.emplace(*model.tokenizer, table, model.embracenet->config.max_tokens);
  std::vector<AccuracyCounter> counters;
  for (const Modalities& m : options.modalities) {
    counters.emplace_back(table, m.name(), "expected");
    if (sampled) counters.emplace_back(table, m.name(), "sampled");
  }
  Random random{options.seed};
  constexpr size_t batch = 1024;
  Progress progress(model.embracenet ? "texts" : "answers", result.items, "items", options.quiet);
  for (size_t begin = 0; begin < rows.size(); begin += batch) {
    const std::span<const uint32_t> part(rows.data() + begin, std::min(batch, rows.size() - begin));
    const int64_t n = static_cast<int64_t>(part.size());
    Tensors docked(modality_count);
    if (model.embracenet) dock_text_and_source(*model.embracenet, table, *tokens, part, options.dtype, docked);
    if (images_wanted) {
      std::vector<int64_t> index;
      for (uint32_t row : part) index.push_back(images.row_of.at(table[row].image_id));
      docked[image_modality] = index_select(images.docked, Tensor::from(index, {n}));
    }
    const Tensor joined = model.join(docked);
    size_t c = 0;
    for (const Modalities& m : options.modalities) {
      for (Random* draw : {static_cast<Random*>(nullptr), &random}) {
        if (draw && !sampled) continue;
        const Tensor logits = model.logits(joined, m, draw);
        const int64_t k = std::min<int64_t>(5, logits.dim(1));
        const Tensor best = topk(logits, k).indices.to(Device::cpu);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t* ids = best.data<int64_t>() + i * k;
          const int64_t label = table[part[i]].category;
          counters[c].count(part[i], ids[0] == label, std::find(ids, ids + k, label) != ids + k);
        }
        ++c;
      }
    }
    progress.update(static_cast<int64_t>(begin + part.size()));
  }
  for (AccuracyCounter& counter : counters) counter.finish(result.rows, result.rows_without_flags);

  if (train) {
    NaiveBayes bayes(table.categories().size());
    for (uint32_t row : train_rows)
      bayes.add((*train)[row].geo, train->name(row), train->description(row), (*train)[row].category);
    AccuracyCounter counter(table, "naive-bayes", "");
    for (uint32_t row : rows) {
      const std::vector<int> best = bayes.top(table[row].geo, table.name(row), table.description(row), 5);
      const int label = table[row].category;
      counter.count(row, best[0] == label, std::find(best.begin(), best.end(), label) != best.end());
    }
    counter.finish(result.baselines, result.rows_without_flags);
  }
  return result;
}

nlohmann::json Evaluation::to_json() const {
  return {{"items", items},
          {"skipped", skipped},
          {"majority", majority},
          {"majority_top1", majority_top1},
          {"rows", json_rows(rows)},
          {"baselines", json_rows(baselines)},
          {"rows_without_country_flag", json_rows(rows_without_flags)}};
}

std::string Evaluation::to_text() const {
  std::string text = fmt::format("{} items", items);
  if (skipped) text += fmt::format(" ({} left out: their images cannot be read)", skipped);
  text += fmt::format("\n\n{:<14} {:<10} {:<18} {:>7} {:>7} {:>7}\n", "modalities", "inference", "items of", "items",
                      "top-1", "top-5");
  const auto line = [&](const AccuracyRow& row, const std::string& of) {
    const double n = static_cast<double>(row.items);
    text += fmt::format("{:<14} {:<10} {:<18} {:>7} {:>7.3f} {:>7.3f}\n", row.modalities, row.inference, of, row.items,
                        row.top1 / n, row.top5 / n);
  };
  std::vector<AccuracyRow> overall = rows;
  overall.insert(overall.end(), baselines.begin(), baselines.end());
  for (const AccuracyRow& row : overall) {
    if (row.geo != "all") continue;
    line(row, "all");
    for (const AccuracyRow& without : rows_without_flags) {
      if (without.modalities == row.modalities && without.inference == row.inference) line(without, "no country-flag");
    }
  }
  text += fmt::format("{:<14} {:<10} {:<18} {:>7} {:>7.3f}   always '{}'\n", "majority", "", "all", items,
                      majority_top1, majority);

  // One line a language, expected inference, top-1/top-5 of every combination side by side.
  std::vector<std::string> columns, geos;
  for (const AccuracyRow& row : overall) {
    if (row.inference == "sampled") continue;
    if (row.geo == "all") columns.push_back(row.modalities);
    else if (std::find(geos.begin(), geos.end(), row.geo) == geos.end()) geos.push_back(row.geo);
  }
  text += fmt::format("\n{:<6} {:>6}", "geo", "items");
  for (const std::string& column : columns) text += fmt::format(" {:>13}", column);
  text += fmt::format("   top-1/top-5{}\n", rows.empty() || rows[0].inference == "zero-shot" ? "" : ", expected inference");
  for (const std::string& geo : geos) {
    std::string cells;
    int64_t count = 0;
    for (const std::string& column : columns) {
      const auto row = std::find_if(overall.begin(), overall.end(), [&](const AccuracyRow& r) {
        return r.geo == geo && r.modalities == column && r.inference != "sampled";
      });
      const double n = static_cast<double>(row->items);
      count = row->items;
      cells += fmt::format(" {:>13}", fmt::format("{:.3f}/{:.3f}", row->top1 / n, row->top5 / n));
    }
    text += fmt::format("{:<6} {:>6}{}\n", geo, count, cells);
  }
  return text;
}

}  // namespace weft
