#include "apps/search_bench.h"

#include <sys/resource.h>

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <unordered_set>

#include "apps/approximate_index.h"
#include "apps/program.h"
#include "data/hash.h"
#include "kernels/device/parallel.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

struct Options {
  int64_t items = 1'000'000, width = 512, kinds = 20'000, queries = 200, top = 10;
  std::vector<int64_t> probes{1, 8, 16, 32, 64, 128, 256};
};

// Of all threads: what else the machine does then matters little.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Adds `weight` times a nearly normal vector of expected length 1, which `name` alone decides.
void add_direction(uint64_t name, float weight, std::span<float> to) {
  SplitMix random(mix64(name));
  const float scale = weight / (std::sqrt(static_cast<float>(to.size()) / 3) * 0x1p16f);
  for (float& x : to) {  // a sum of four uniform numbers of variance 1/12
    const uint64_t bits = random.next();
    const int64_t sum =
        static_cast<int64_t>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48));
    x += scale * static_cast<float>(sum - 2 * 0xFFFF);
  }
}

// Embeddings as an encoder makes them: all share a direction; groups, kinds within them and the items have their own.
// Kinds are of unequal frequency. Two items have a cosine of 0.39 on average, two of one kind 0.70.
class Catalogue {
 public:
  /// `stream`: items of other streams are others of the same kinds.
  Catalogue(int64_t kinds, uint64_t stream) : kinds_(static_cast<uint64_t>(kinds)), random_(mix64(stream)) {}

  void item(std::span<float> to) {
    std::fill(to.begin(), to.end(), 0.0f);
    const double u = static_cast<double>(random_.next() >> 11) * 0x1p-53;
    const auto kind = static_cast<uint64_t>(u * u * static_cast<double>(kinds_));
    add_direction(everything, 0.8f, to);
    add_direction(groups + kind % (1 + kinds_ / 50), 0.5f, to);
    add_direction(kinds + kind, 0.5f, to);
    add_direction(random_.next(), 0.7f, to);
  }
  // As the other modality's encoder makes it: far from every item, a little less far from those that are meant.
  void query_of_other_modality(std::span<float> to) {
    item(to);
    for (float& x : to) x *= 0.35f;
    add_direction(other_modality, 0.6f, to);
    add_direction(random_.next(), 0.6f, to);
  }

 private:
  static constexpr uint64_t everything = 1, other_modality = 2, groups = uint64_t{1} << 32, kinds = uint64_t{2} << 32;
  uint64_t kinds_;
  SplitMix random_;
};

std::vector<EmbeddingStore::Part> make_items(const Options& o) {
  constexpr int64_t rows_of_a_part = 16384;
  std::vector<EmbeddingStore::Part> parts;
  for (int64_t begin = 0; begin < o.items; begin += rows_of_a_part) {
    const int64_t n = std::min(rows_of_a_part, o.items - begin);
    parts.push_back({Tensor::empty({n}, DType::i64), Tensor::empty({n, o.width})});
  }
  parallel_for(static_cast<int64_t>(parts.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const EmbeddingStore::Part& part = parts[static_cast<size_t>(p)];
      Catalogue catalogue(o.kinds, static_cast<uint64_t>(p));
      for (int64_t i = 0; i < part.keys.numel(); ++i) {
        part.keys.data<int64_t>()[i] = p * rows_of_a_part + i;
        catalogue.item({part.embeddings.data<float>() + i * o.width, static_cast<size_t>(o.width)});
      }
    }
  });
  return parts;
}

Tensor make_queries(const Options& o, bool of_other_modality) {
  const Tensor queries = Tensor::empty({o.queries, o.width});
  Catalogue catalogue(o.kinds, of_other_modality ? ~uint64_t{0} : ~uint64_t{1});
  for (int64_t q = 0; q < o.queries; ++q) {
    const std::span<float> query(queries.data<float>() + q * o.width, static_cast<size_t>(o.width));
    of_other_modality ? catalogue.query_of_other_modality(query) : catalogue.item(query);
  }
  return queries;
}

// The share of the true hits that were found.
double recall(const std::vector<std::vector<Hit>>& found, const std::vector<std::vector<Hit>>& truth) {
  size_t hits = 0, all = 0;
  for (size_t q = 0; q < truth.size(); ++q) {
    std::unordered_set<uint64_t> keys;
    for (const Hit& hit : found[q]) keys.insert(hit.key);
    for (const Hit& hit : truth[q]) hits += keys.contains(hit.key);
    all += truth[q].size();
  }
  return static_cast<double>(hits) / static_cast<double>(all);
}

Tensor row_of(const Tensor& x, int64_t row) {
  return Tensor::from(std::vector<float>(x.data<float>() + row * x.dim(1), x.data<float>() + (row + 1) * x.dim(1)),
                      {1, x.dim(1)});
}

nlohmann::json measure(const Options& o) {
  const NoGrad no_grad;
  const std::vector<EmbeddingStore::Part> parts = make_items(o);
  const UnitRows rows(parts);
  const double start = cpu_seconds();
  const ApproximateIndex index = ApproximateIndex::build(rows, 0, 0, true);
  nlohmann::json result{
      {"items", o.items}, {"width", o.width}, {"cells", index.cells()}, {"build_s", cpu_seconds() - start}};

  const Tensor queries[] = {make_queries(o, false), make_queries(o, true)};
  const std::vector<std::vector<Hit>> truth[] = {nearest(parts, queries[0], o.top, Device::cpu),
                                                 nearest(parts, queries[1], o.top, Device::cpu)};
  // Queries come one at a time, as to weft-search.
  constexpr int64_t timed_exactly = 3;
  const double exact = cpu_seconds();
  for (int64_t q = 0; q < timed_exactly; ++q) nearest(parts, row_of(queries[0], q), o.top, Device::cpu);
  result["exact_ms"] = 1000 * (cpu_seconds() - exact) / timed_exactly;
  result["rows"] = nlohmann::json::array();
  for (const int64_t probes : o.probes) {
    nlohmann::json row{{"probes", probes}};
    for (const bool of_other_modality : {false, true}) {
      std::vector<std::vector<Hit>> found;
      const double begin = cpu_seconds();
      for (int64_t q = 0; q < o.queries; ++q) {
        found.push_back(nearest(index, rows, row_of(queries[of_other_modality], q), o.top, probes)[0]);
      }
      row["ms"] = 1000 * (cpu_seconds() - begin) / static_cast<double>(o.queries);
      row[of_other_modality ? "recall_other_modality" : "recall"] = recall(found, truth[of_other_modality]);
    }
    result["rows"].push_back(row);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  result["peak_mib"] = usage.ru_maxrss >> 10;
  return result;
}

void print(const nlohmann::json& result, int64_t top) {
  fmt::print("{} embeddings of width {} in {} cells, built in {:.1f} s of CPU time; peak memory {} MiB\n",
             result["items"].get<int64_t>(), result["width"].get<int64_t>(), result["cells"].get<int64_t>(),
             result["build_s"].get<double>(), result["peak_mib"].get<int64_t>());
  fmt::print(
      "recall@{}: the share of the exact search's {} first hits, for queries like the items and of another modality\n",
      top, top);
  fmt::print("exact       {:8.2f} ms a query\n", result["exact_ms"].get<double>());
  for (const nlohmann::json& row : result["rows"]) {
    fmt::print("{:4} probes {:8.2f} ms a query   recall {:.3f}   other modality {:.3f}\n", row["probes"].get<int64_t>(),
               row["ms"].get<double>(), row["recall"].get<double>(), row["recall_other_modality"].get<double>());
  }
}

}  // namespace

int run_search_bench(int argc, char** argv) {
  CLI::App app{"Builds the approximate index of a made-up catalogue in memory and compares what it finds, and in how\n"
               "much CPU time, with the exact search."};
  app.name("weft-search bench");
  app.footer("Example: weft-search bench --items 1000000 --threads 1");
  Options o;
  CommonOptions common;
  app.add_option("--items", o.items, "Embeddings")->check(CLI::Range(1, 100'000'000))->capture_default_str();
  app.add_option("--width", o.width, "Their width")->check(CLI::Range(1, 65536))->capture_default_str();
  app.add_option("--kinds", o.kinds, "Kinds of items: embeddings lie close to those of their kind")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  app.add_option("--queries", o.queries, "Queries of either sort")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--top", o.top, "Hits that are compared")->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--probes", o.probes, "Cells that are looked at")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  common.add_compute(app);
  common.add_json(app);
  return run_program(argc, argv, app, [&] {
    const nlohmann::json result = measure(o);
    if (common.json) {
      fmt::print("{}\n", result.dump());
    } else {
      print(result, o.top);
    }
  });
}

}  // namespace weft
