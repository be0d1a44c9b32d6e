// weft-embed: the embeddings of all texts and images of a folder in GLAMI-1M's format.
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "apps/embedder.h"
#include "apps/embedding_store.h"
#include "apps/interrupt.h"
#include "apps/program.h"
#include "apps/progress.h"
#include "data/glami.h"
#include "kernels/device/parallel.h"

namespace weft {
namespace {

struct Options {
  std::filesystem::path data, out;
  std::string image_model, text_model, split = "all";
  int64_t max_tokens = 32, batch = 32, max_broken = 100;
};

struct Count {
  int64_t distinct = 0, computed = 0, broken = 0;
};

void stop_if_interrupted(EmbeddingStore& store) {
  if (!interrupted()) return;
  store.flush();
  fail("interrupted; what was done is kept, and the same command goes on from there");
}

std::vector<GlamiTable> read_tables(const Options& o) {
  std::vector<GlamiTable> tables;
  for (const char* split : {"train", "test"}) {
    if (o.split == "all" || o.split == split) tables.push_back(read_glami(o.data, split));
  }
  return tables;
}

// Calls each(table, row, key) for the first row of every distinct thing that the store lacks.
Count each_missing(const std::vector<GlamiTable>& tables, const EmbeddingStore& store,
                   const std::function<uint64_t(const GlamiTable&, size_t)>& key_of,
                   const std::function<void(const GlamiTable&, size_t, uint64_t)>& each) {
  Count count;
  std::unordered_set<uint64_t> seen;
  for (const GlamiTable& table : tables) {
    for (size_t row = 0; row < table.size(); ++row) {
      const uint64_t key = key_of(table, row);
      if (!seen.insert(key).second) continue;
      ++count.distinct;
      if (!store.has(key)) each(table, row, key);
    }
  }
  return count;
}

Count embed_texts(const Options& o, const std::vector<GlamiTable>& tables, const CommonOptions& common) {
  const TextEmbedder embed(o.text_model, o.max_tokens, dtype_from_name(common.dtype), device_from_name(common.device));
  EmbeddingStore store(o.out / "texts", embed.made_from);
  std::vector<uint64_t> keys;
  std::vector<std::string_view> texts;
  Count count = each_missing(
      tables, store, [](const GlamiTable& table, size_t row) { return EmbeddingStore::text_key(table.text(row)); },
      [&](const GlamiTable& table, size_t row, uint64_t key) {
        keys.push_back(key);
        texts.push_back(table.text(row));
      });
  Progress progress("texts", static_cast<int64_t>(texts.size()), "texts", common.quiet);
  for (size_t begin = 0; begin < texts.size(); begin += o.batch) {
    stop_if_interrupted(store);
    const size_t end = std::min(texts.size(), begin + o.batch);
    store.add({keys.begin() + begin, keys.begin() + end}, embed(std::vector<std::string>(texts.begin() + begin, texts.begin() + end)));
    progress.update(count.computed = static_cast<int64_t>(end));
  }
  store.flush();
  return count;
}

Count embed_images(const Options& o, const std::vector<GlamiTable>& tables, const CommonOptions& common) {
  const ImageEmbedder embed(o.image_model, dtype_from_name(common.dtype), device_from_name(common.device));
  EmbeddingStore store(o.out / "images", embed.made_from);
  std::vector<uint64_t> keys;
  std::vector<std::filesystem::path> files;
  Count count = each_missing(
      tables, store, [](const GlamiTable& table, size_t row) { return EmbeddingStore::image_key(table[row].image_id); },
      [&](const GlamiTable& table, size_t row, uint64_t key) {
        keys.push_back(key);
        files.push_back(table.image_path(row));
      });
  Progress progress("images", static_cast<int64_t>(files.size()), "images", common.quiet);
  for (size_t begin = 0; begin < files.size(); begin += o.batch) {
    stop_if_interrupted(store);
    const int64_t n = static_cast<int64_t>(std::min(files.size(), begin + o.batch) - begin);
    std::vector<std::vector<float>> prepared(n);
    std::vector<std::string> errors(n);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n; ++i) {
      try {
        prepared[i] = embed.prepare(read_image(files[begin + i]));
      } catch (const std::invalid_argument& error) {  // of the preparation, which knows no file
        errors[i] = fmt::format("{}: {}", files[begin + i].string(), error.what());
      } catch (const std::exception& error) {
        errors[i] = error.what();
      }
    }
    std::vector<uint64_t> read;
    std::vector<std::vector<float>> images;
    for (int64_t i = 0; i < n; ++i) {
      if (errors[i].empty()) {
        read.push_back(keys[begin + i]);
        images.push_back(std::move(prepared[i]));
      } else {
        check_input(++count.broken <= o.max_broken, "{} (more than --max-broken {} images cannot be read)", errors[i],
                    o.max_broken);
        report_line("skipped: " + errors[i]);
      }
    }
    if (!read.empty()) store.add(read, embed(images));
    count.computed += static_cast<int64_t>(read.size());
    progress.update(static_cast<int64_t>(begin) + n);
  }
  store.flush();
  return count;
}

void embed(const Options& o, const CommonOptions& common) {
  catch_interrupts();
  const std::vector<GlamiTable> tables = read_tables(o);
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
  sleep_while_waiting(argv);
  CLI::App app{"Embeds every distinct text and image of a folder in GLAMI-1M's format. What is in the output folder already\n"
               "is not computed again, so that an interrupted run goes on where it was."};
  app.footer("Example: weft-embed --data data/emoji13 --image-model models/clip --text-model models/m-clip --out embeddings");
  Options o;
  CommonOptions common;
  app.add_option("--data", o.data, "Data folder")->required();
  app.add_option("--out", o.out, "Folder of the embeddings: images/ and texts/ in it")->required();
  app.add_option("--image-model", o.image_model, "CLIP (its image tower) or ResNeXt; without it no images are embedded");
  app.add_option("--text-model", o.text_model, "Multilingual CLIP or CLIP, with its tokenizer; without it no texts are embedded");
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
    embed(o, common);
  });
}
