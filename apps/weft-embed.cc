// weft-embed: the embeddings of all texts and images of a folder in GLAMI-1M's format.
#include <chrono>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "apps/embedder.h"
#include "apps/embedding_store.h"
#include "apps/interrupt.h"
#include "apps/program.h"
#include "apps/progress.h"
#include "apps/text_array.h"
#include "data/glami.h"
#include "kernels/device/waiting.h"

namespace weft {
namespace {

struct Options {
  std::filesystem::path data, out;
  std::string image_model, text_model, split = "all", hidden;
  int64_t max_tokens = 32, batch = 32, max_broken = 100;

  bool is_array() const { return out.extension() == ".npy"; }
};

struct Count {
  int64_t distinct = 0, computed = 0, broken = 0;
};

// Keeps what is done: every few minutes, and at an interruption, which ends the program.
class Keeper {
 public:
  void operator()(const EmbeddingStore& store) {
    const auto now = std::chrono::steady_clock::now();
    if (!interrupted() && now - kept_at_ < std::chrono::minutes(5)) return;
    store.keep_unfinished();
    kept_at_ = now;
    check_input(!interrupted(), "interrupted; what was done is kept, and the same command goes on from there");
  }

 private:
  std::chrono::steady_clock::time_point kept_at_ = std::chrono::steady_clock::now();
};

std::vector<GlamiTable> read_tables(const Options& o) {
  std::vector<GlamiTable> tables;
  for (const char* split : {"train", "test"}) {
    if (o.split == "all" || o.split == split) tables.push_back(read_glami(o.data, split));
  }
  return tables;
}

// The rows with something for the first time, and its key.
struct Distinct {
  const GlamiTable* table;
  size_t row;
  uint64_t key;
};

std::vector<Distinct> distinct_rows(const std::vector<GlamiTable>& tables,
                                    const std::function<uint64_t(const GlamiTable&, size_t)>& key_of) {
  std::vector<Distinct> list;
  std::unordered_set<uint64_t> seen;
  for (const GlamiTable& table : tables) {
    for (size_t row = 0; row < table.size(); ++row) {
      const uint64_t key = key_of(table, row);
      if (seen.insert(key).second) list.push_back({&table, row, key});
    }
  }
  return list;
}

// Calls each(batch) for what the store lacks of every `batch` of the list. What shares a batch thus depends on the list
// alone, also where a run was interrupted: the last bits of an embedding can depend on it.
Count each_missing(const std::vector<Distinct>& list, EmbeddingStore& store, int64_t batch, Progress& progress,
                   const std::function<void(const std::vector<Distinct>&)>& each) {
  Keeper keep;
  for (size_t begin = 0; begin < list.size(); begin += static_cast<size_t>(batch)) {
    keep(store);
    const size_t end = std::min(list.size(), begin + static_cast<size_t>(batch));
    std::vector<Distinct> missing;
    std::copy_if(list.begin() + begin, list.begin() + end, std::back_inserter(missing),
                 [&](const Distinct& d) { return !store.has(d.key); });
    if (!missing.empty()) each(missing);
    progress.update(static_cast<int64_t>(end));
  }
  store.flush();
  return {static_cast<int64_t>(list.size()), 0, 0};
}

HiddenStates hidden_states(const Options& o) {
  if (o.hidden == "mean") return HiddenStates::mean;
  if (o.hidden == "flatten") return HiddenStates::flatten;
  if (o.hidden == "whole") return HiddenStates::whole;
  return o.is_array() ? HiddenStates::whole : HiddenStates::mean;
}

TextEmbedder text_embedder(const Options& o, const CommonOptions& common) {
  return TextEmbedder(o.text_model, o.max_tokens, dtype_from_name(common.dtype), device_from_name(common.device),
                      hidden_states(o));
}

Count embed_texts(const Options& o, const std::vector<GlamiTable>& tables, const CommonOptions& common) {
  const TextEmbedder embed = text_embedder(o, common);
  EmbeddingStore store(o.out / "texts", embed.made_from);
  const std::vector<Distinct> list = distinct_rows(
      tables, [](const GlamiTable& table, size_t row) { return EmbeddingStore::text_key(table.text(row)); });
  Progress progress("texts", static_cast<int64_t>(list.size()), "texts", common.quiet);
  int64_t computed = 0;
  Count count = each_missing(list, store, o.batch, progress, [&](const std::vector<Distinct>& missing) {
    std::vector<uint64_t> keys;
    std::vector<std::string> texts;
    for (const Distinct& d : missing) {
      keys.push_back(d.key);
      texts.emplace_back(d.table->text(d.row));
    }
    store.add(keys, embed(texts));
    computed += static_cast<int64_t>(keys.size());
  });
  count.computed = computed;
  return count;
}

Count embed_images(const Options& o, const std::vector<GlamiTable>& tables, const CommonOptions& common) {
  const ImageEmbedder embed(o.image_model, dtype_from_name(common.dtype), device_from_name(common.device));
  EmbeddingStore store(o.out / "images", embed.made_from);
  const std::vector<Distinct> list = distinct_rows(
      tables, [](const GlamiTable& table, size_t row) { return EmbeddingStore::image_key(table[row].image_id); });
  Progress progress("images", static_cast<int64_t>(list.size()), "images", common.quiet);
  int64_t computed = 0, broken = 0;
  Count count = each_missing(list, store, o.batch, progress, [&](const std::vector<Distinct>& missing) {
    const auto n = static_cast<int64_t>(missing.size());
    std::vector<std::vector<float>> prepared(missing.size());
    std::vector<std::string> errors(missing.size());
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n; ++i) {
      const std::filesystem::path file = missing[i].table->image_path(missing[i].row);
      try {
        prepared[i] = embed.prepare(read_image(file));
      } catch (const std::invalid_argument& error) {  // of the preparation, which knows no file
        errors[i] = fmt::format("{}: {}", file.string(), error.what());
      } catch (const std::exception& error) {
        errors[i] = error.what();
      }
    }
    std::vector<uint64_t> read;
    std::vector<std::vector<float>> images;
    for (int64_t i = 0; i < n; ++i) {
      if (errors[i].empty()) {
        read.push_back(missing[i].key);
        images.push_back(std::move(prepared[i]));
      } else {
        check_input(++broken <= o.max_broken, "{} (more than --max-broken {} images cannot be read)", errors[i],
                    o.max_broken);
        report_line("skipped: " + errors[i]);
      }
    }
    if (!read.empty()) store.add(read, embed(images));
    computed += static_cast<int64_t>(read.size());
  });
  count.computed = computed;
  count.broken = broken;
  return count;
}

void embed_into_array(const Options& o, const std::vector<GlamiTable>& tables, const CommonOptions& common) {
  const TextArrayCount count = write_text_array(text_embedder(o, common), tables, o.out, o.batch, common.quiet);
  if (common.json) {
    const nlohmann::json texts = {{"items", count.items}, {"distinct", count.distinct}, {"computed", count.computed}};
    fmt::print("{}\n", nlohmann::json{{"texts", texts}}.dump());
  } else {
    fmt::print("texts: {} items, {} distinct, {} computed now\n", count.items, count.distinct, count.computed);
  }
}

void embed(const Options& o, const CommonOptions& common) {
  catch_interrupts();
  const std::vector<GlamiTable> tables = read_tables(o);
  if (o.is_array()) return embed_into_array(o, tables, common);
  nlohmann::json summary = nlohmann::json::object();
  const auto report = [&](const char* what, const Count& count) {
    summary[what] = {{"distinct", count.distinct}, {"computed", count.computed}, {"broken", count.broken}};
    if (!common.json) {
      fmt::print("{}: {} distinct, {} computed now{}\n", what, count.distinct, count.computed,
                 count.broken ? fmt::format(", {} cannot be read", count.broken) : "");
    }
  };
  if (!o.image_model.empty()) report("images", embed_images(o, tables, common));
  if (!o.text_model.empty()) report("texts", embed_texts(o, tables, common));
  if (common.json) fmt::print("{}\n", summary.dump());
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  CLI::App app{"Embeds every distinct text and image of a folder in GLAMI-1M's format. What is in the output folder already\n"
               "is not computed again, so that an interrupted run goes on where it was."};
  app.footer("Example: weft-embed --data data/emoji13 --image-model models/clip --text-model models/m-clip --out embeddings");
  Options o;
  CommonOptions common;
  app.add_option("--data", o.data, "Data folder")->required();
  app.add_option("--out", o.out,
                 "Folder of the embeddings, images/ and texts/ in it; or FILE.npy for the texts alone: a row an item,\n"
                 "with FILE_ids.npy and, for --hidden whole, FILE_mask.npy beside")
      ->required();
  app.add_option("--image-model", o.image_model, "CLIP (its image tower) or ResNeXt; without it no images are embedded");
  app.add_option("--text-model", o.text_model,
                 "Multilingual CLIP, CLIP, mT5 or XLM-RoBERTa, with its tokenizer; without it no texts are embedded");
  app.add_option("--hidden", o.hidden,
                 "From the hidden states of mT5 and XLM-RoBERTa to embeddings: their mean over the tokens (default in\n"
                 "a folder), flattened as an EmbraceNet reads them, or whole (default in FILE.npy, GLAMI-1M's cache)")
      ->check(CLI::IsMember({"mean", "flatten", "whole"}));
  app.add_option("--split", o.split, "Rows")->check(CLI::IsMember({"train", "test", "all"}))->capture_default_str();
  app.add_option("--max-tokens", o.max_tokens, "Texts are cut to so many tokens")->check(CLI::Range(2, 512))->capture_default_str();
  app.add_option("--batch", o.batch, "Texts or images at a time")->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--max-broken", o.max_broken, "Images that may be unreadable: they are left out and counted")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  common.add_compute(app);
  common.add_json(app);
  common.add_quiet(app);
  return run_program(argc, argv, app, [&] {
    if (o.image_model.empty() && o.text_model.empty()) throw CLI::ValidationError("--image-model or --text-model is needed");
    if (o.is_array() && !o.image_model.empty()) {
      throw CLI::ValidationError("--out", "FILE.npy holds texts, without --image-model");
    }
    if (o.hidden == "whole" && !o.is_array()) throw CLI::ValidationError("--hidden", "whole needs --out FILE.npy");
    embed(o, common);
  });
}
