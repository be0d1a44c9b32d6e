// weft-search: the images or texts of a folder that are nearest to a text or an image.
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "apps/embedder.h"
#include "apps/index_cache.h"
#include "apps/program.h"
#include "apps/search_bench.h"
#include "data/glami.h"
#include "data/orientation.h"
#include "kernels/cast.h"
#include "kernels/device/waiting.h"
#include "tensor/autograd.h"

namespace weft {
namespace {

struct Options {
  std::filesystem::path data, embeddings, image;
  std::string text, image_model, text_model, in = "images", index = "auto";
  int64_t top = 10, probes = default_probes;
  bool quiet = false;
};

Tensor query_embedding(const Options& o, DType dtype, Device device) {
  if (!o.image.empty()) {
    const ImageEmbedder embed(o.image_model, dtype, device);
    const std::vector<std::vector<float>> images{embed.prepare(read_upright_image(o.image))};
    return embed(images);
  }
  const std::vector<std::string> texts{o.text};
  return TextEmbedder(o.text_model, 77, dtype, device)(texts);
}

// With --index auto: more embeddings than this are not compared one by one.
constexpr int64_t many = 1'000'000;

std::vector<Hit> find(const Options& o, const EmbeddingStore& store, const Tensor& query, Device device) {
  check_input(store.size() > 0, "there are no embeddings to search: run weft-embed first");
  check_input(store.width() == query.dim(1), "the query has {} dimensions but the embeddings have {}", query.dim(1),
              store.width());
  const bool exact = o.index == "exact" || (o.index == "auto" && store.size() <= many);
  if (exact) return nearest(store.parts(), query, o.top, device)[0];
  const UnitRows rows(store.parts());
  const ApproximateIndex index = cached_index(store.parts(), rows, o.embeddings / o.in / "index.safetensors", o.quiet);
  return nearest(index, rows, query, o.top, o.probes)[0];
}

void search(const Options& o, const CommonOptions& common) {
  const NoGrad no_grad;
  const Device device = device_from_name(common.device);
  const bool texts = o.in == "texts";
  const EmbeddingStore store(o.embeddings / o.in);
  const Tensor query = cast(query_embedding(o, dtype_from_name(common.dtype), device), DType::f32);
  const std::vector<Hit> hits = find(o, store, query, device);

  // An item that shows each hit: the first of the tables that has it.
  const GlamiTable tables[] = {read_glami(o.data, "train"), read_glami(o.data, "test")};
  std::unordered_map<uint64_t, std::pair<int, size_t>> row_of;
  for (const Hit& hit : hits) row_of[hit.key] = {-1, 0};
  for (int t = 0; t < 2; ++t) {
    for (size_t row = 0; row < tables[t].size(); ++row) {
      const auto found = row_of.find(texts ? EmbeddingStore::text_key(tables[t].text(row))
                                           : EmbeddingStore::image_key(tables[t][row].image_id));
      if (found != row_of.end() && found->second.first < 0) found->second = {t, row};
    }
  }
  nlohmann::json results = nlohmann::json::array();
  for (const Hit& hit : hits) {
    const auto [t, row] = row_of[hit.key];
    check_input(t >= 0, "{}: an embedding belongs to no item of {}: were they made from other data?", o.embeddings.string(),
                o.data.string());
    const GlamiTable& table = tables[t];
    const Item& item = table[row];
    const std::string& category = table.categories().name(item.category);
    if (common.json) {
      results.push_back({{"score", hit.score}, {"item_id", item.item_id}, {"image_id", item.image_id},
                         {"geo", kGeos[item.geo].code}, {"category", category}, {"text", table.text(row)}});
    } else {
      fmt::print("{:.4f}  {}  {}  {}  {}\n", hit.score, table.image_path(row).string(), kGeos[item.geo].code, category,
                 table.name(row));
    }
  }
  if (common.json) fmt::print("{}\n", nlohmann::json{{"results", results}}.dump());
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  if (argc > 1 && std::string_view(argv[1]) == "bench") return run_search_bench(argc - 1, argv + 1);
  CLI::App app{"Finds the images or texts of a folder that are nearest to a text or an image, by the cosine of their embeddings\n"
               "(made by weft-embed with models whose embeddings belong together)."};
  app.footer("Example: weft-search --data data/emoji13 --embeddings embeddings --text \"red shoes\" --text-model models/m-clip\n"
             "weft-search bench --help: what the approximate index finds of what is there, and how fast");
  Options o;
  CommonOptions common;
  app.add_option("--data", o.data, "Data folder")->required();
  app.add_option("--embeddings", o.embeddings, "Folder that weft-embed wrote")->required();
  app.add_option("--text", o.text, "Search for this text");
  app.add_option("--text-model", o.text_model, "Text model, for --text");
  app.add_option("--image", o.image, "Search for this image; one from a camera is turned upright");
  app.add_option("--image-model", o.image_model, "Image model, for --image");
  app.add_option("--in", o.in, "What to find")->check(CLI::IsMember({"images", "texts"}))->capture_default_str();
  app.add_option("--top", o.top, "How many")->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--index", o.index,
                 "exact compares the query with every embedding, approximate with those of the nearest cells of an\n"
                 "index that is made once and kept beside the embeddings; auto: approximate above a million embeddings")
      ->check(CLI::IsMember({"auto", "exact", "approximate"}))
      ->capture_default_str();
  app.add_option("--probes", o.probes, "Cells of the index that are looked at")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  common.add_compute(app);
  common.add_json(app);
  common.add_quiet(app);
  return run_program(argc, argv, app, [&] {
    if (o.text.empty() == o.image.empty()) throw CLI::ValidationError("one of --text and --image is needed");
    if (!o.text.empty() && o.text_model.empty()) throw CLI::ValidationError("--text needs --text-model");
    if (!o.image.empty() && o.image_model.empty()) throw CLI::ValidationError("--image needs --image-model");
    o.quiet = common.quiet;
    search(o, common);
  });
}
