// The approximate index: exact where it looks at every cell, kept beside the embeddings, built anew where it no longer
// belongs.
#include "apps/approximate_index.h"

#include <doctest/doctest.h>
#include <omp.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <limits>

#include "apps/index_cache.h"
#include "data/hash.h"
#include "tensor/autograd.h"
#include "tensor/safetensors.h"
#include "tests/temporary_folder.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

// Around 40 directions, of unequal lengths; no two alike.
Tensor vectors(int64_t n, int64_t d, uint64_t seed) {
  SplitMix random(seed);
  const Tensor x = Tensor::empty({n, d});
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t kind = random.below(40);
    const float length = 0.1f + static_cast<float>(random.below(1000)) / 100;
    for (int64_t j = 0; j < d; ++j) {
      const auto centre = static_cast<float>(mix64(kind * 1000 + static_cast<uint64_t>(j)) >> 40) * 0x1p-23f - 1;
      x.data<float>()[i * d + j] = length * (centre + 0.5f * (static_cast<float>(random.next() >> 40) * 0x1p-23f - 1));
    }
  }
  return x;
}

std::vector<EmbeddingStore::Part> parts_of(const Tensor& x, int64_t rows_of_a_part) {
  std::vector<EmbeddingStore::Part> parts;
  const int64_t n = x.dim(0), d = x.dim(1);
  for (int64_t begin = 0; begin < n; begin += rows_of_a_part) {
    const int64_t count = std::min(rows_of_a_part, n - begin);
    std::vector<int64_t> keys;
    for (int64_t i = 0; i < count; ++i) keys.push_back(1000 + 7 * (begin + i));
    parts.push_back(
        {Tensor::from(keys, {count}),
         Tensor::from(std::vector<float>(x.data<float>() + begin * d, x.data<float>() + (begin + count) * d),
                      {count, d})});
  }
  return parts;
}

void expect_same(const std::vector<std::vector<Hit>>& found, const std::vector<std::vector<Hit>>& exact) {
  REQUIRE(found.size() == exact.size());
  for (size_t q = 0; q < exact.size(); ++q) {
    REQUIRE(found[q].size() == exact[q].size());
    for (size_t i = 0; i < exact[q].size(); ++i) {
      CHECK(found[q][i].key == exact[q][i].key);
      CHECK(found[q][i].score == doctest::Approx(exact[q][i].score).epsilon(1e-5));
    }
  }
}

size_t common_keys(const std::vector<Hit>& a, const std::vector<Hit>& b) {
  size_t count = 0;
  for (const Hit& x : a) {
    for (const Hit& y : b) count += x.key == y.key;
  }
  return count;
}

// One thread, but where threads share a search: gcc's OpenMP spins at every barrier, for seconds on a machine with more
// to do.
const bool one_thread = (omp_set_num_threads(1), true);

TEST_CASE("with every cell probed the hits are the exact ones") {
  const NoGrad no_grad;
  const auto parts = parts_of(vectors(3001, 24, 1), 1000);
  const UnitRows rows(parts);
  const ApproximateIndex index = ApproximateIndex::build(rows, 0, 0, true);
  index.check(3001, 24, "index");
  CHECK(index.cells() == 76);  // at least 39 rows each; 1.5 sqrt(3001) asks for 128
  for (const int threads : {1, 2}) {
    for (const int64_t queries : {1, 9}) {  // threads share the cells, or the queries
      const Tensor x = vectors(queries, 24, 2);
      omp_set_num_threads(threads);
      const auto every = nearest(index, rows, x, 10, index.cells()), more = nearest(index, rows, x, 10, 1 << 20);
      omp_set_num_threads(1);
      const auto exact = nearest(parts, x, 10, Device::cpu);
      expect_same(every, exact);
      expect_same(more, exact);
      // All rows are found only where all cells are looked at.
      for (const auto& hits : nearest(index, rows, x, 3001, index.cells())) CHECK(hits.size() == 3001);
    }
  }
}

TEST_CASE("few probes find most, and fewer find less") {
  const NoGrad no_grad;
  const auto parts = parts_of(vectors(6000, 24, 3), 4096);
  const UnitRows rows(parts);
  const ApproximateIndex index = ApproximateIndex::build(rows, 100, 0, true);
  const Tensor queries = vectors(50, 24, 4);
  const auto exact = nearest(parts, queries, 10, Device::cpu);
  size_t of_one = 0, of_eight = 0;
  const auto one = nearest(index, rows, queries, 10, 1), eight = nearest(index, rows, queries, 10, 8);
  for (size_t q = 0; q < exact.size(); ++q) {
    of_one += common_keys(one[q], exact[q]);
    of_eight += common_keys(eight[q], exact[q]);
  }
  MESSAGE(of_one, " and ", of_eight, " of 500 hits");
  CHECK(of_one < of_eight);
  CHECK(of_one >= 150);
  CHECK(of_eight >= 450);
}

TEST_CASE("catalogues of any size") {
  const NoGrad no_grad;
  for (const int64_t n : {1, 2, 38, 39, 78}) {
    const auto parts = parts_of(vectors(n, 5, 5), 16);
    const UnitRows rows(parts);
    const ApproximateIndex index = ApproximateIndex::build(rows, 0, 0, true);
    index.check(n, 5, "index");
    const Tensor query = vectors(1, 5, 6);
    expect_same(nearest(index, rows, query, 100, index.cells()), nearest(parts, query, 100, Device::cpu));
  }
}

TEST_CASE("an embedding without a direction is named") {
  const NoGrad no_grad;
  for (const float bad : {0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const Tensor x = vectors(100, 4, 7);
    std::fill_n(x.data<float>() + 4 * 50, 4, bad);
    const auto parts = parts_of(x, 64);
    CHECK_THROWS_WITH_AS(ApproximateIndex::build(UnitRows(parts), 0, 0, true),
                         doctest::Contains("under key 1350 must have a direction"), std::runtime_error);
    CHECK_THROWS_WITH_AS(nearest(parts, vectors(1, 4, 8), 100, Device::cpu),
                         doctest::Contains("under key 1350 must have a direction"), std::runtime_error);
  }
}

// A store on disk and its index, with what the program says to stderr.
struct Kept {
  TemporaryFolder folder;
  fs::path file = folder / "index.safetensors";

  void write(uint64_t seed, int64_t n = 500) const {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder.path())) {
      if (entry.path() != file) fs::remove(entry.path());
    }
    EmbeddingStore store(folder.path(), "test");
    std::vector<uint64_t> keys;
    for (int64_t i = 0; i < n; ++i) keys.push_back(static_cast<uint64_t>(i));
    store.add(keys, vectors(n, 8, seed));
    store.flush();
  }
  // The index, and what was said.
  std::pair<ApproximateIndex, std::string> open() const {
    const fs::path said = folder / "stderr";
    std::fflush(stderr);
    const int before = dup(2);
    REQUIRE(std::freopen(said.c_str(), "w", stderr));
    const EmbeddingStore store(folder.path());
    const UnitRows rows(store.parts());
    ApproximateIndex index = cached_index(store.parts(), rows, file, false);
    std::fflush(stderr);
    dup2(before, 2);
    close(before);
    index.check(rows.size(), rows.width(), "index");
    std::ifstream text(said);
    return {index, {std::istreambuf_iterator<char>(text), {}}};
  }
};

size_t notes(const std::string& said) {
  size_t count = 0;
  for (size_t at = said.find("note: "); at != std::string::npos; at = said.find("note: ", at + 1)) ++count;
  return count;
}

TEST_CASE("an index is kept and used again") {
  const Kept kept;
  kept.write(1);
  CHECK(notes(kept.open().second) == 0);
  REQUIRE(fs::exists(kept.file));
  const auto written = fs::last_write_time(kept.file);
  CHECK(kept.open().second == "");
  CHECK(fs::last_write_time(kept.file) == written);

  // Copied embeddings have other times but the same bytes: the index is still theirs, and then notes the new times.
  fs::last_write_time(kept.folder / "000000.safetensors", written + std::chrono::hours(1));
  CHECK(kept.open().second == "");
  const auto noted = fs::last_write_time(kept.file);
  CHECK(noted != written);
  CHECK(kept.open().second == "");
  CHECK(fs::last_write_time(kept.file) == noted);
}

TEST_CASE("an index of other embeddings is built anew") {
  const Kept kept;
  kept.write(1);
  kept.open();
  const Tensor before = kept.open().first.centroids;
  kept.write(2);  // as many, other numbers
  const auto [index, said] = kept.open();
  CHECK(said.find("made of other embeddings than are there now") != std::string::npos);
  CHECK(notes(said) == 1);
  CHECK(std::memcmp(index.centroids.raw(), before.raw(), static_cast<size_t>(before.nbytes())) != 0);
  CHECK(kept.open().second == "");
  kept.write(2, 501);
  CHECK(notes(kept.open().second) == 1);
  CHECK(kept.open().second == "");
}

TEST_CASE("a broken index is one line, and built anew") {
  const Kept kept;
  kept.write(1);
  const ApproximateIndex good = kept.open().first;
  std::ifstream file(kept.file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto rebuilt = [&](const std::string& broken) {
    fs::remove(kept.file);
    std::ofstream(kept.file, std::ios::binary) << broken;
    const auto [index, said] = kept.open();
    CHECK(notes(said) == 1);
    CHECK(said.find("note: the index is built anew: " + kept.file.string()) != std::string::npos);
    CHECK(std::memcmp(index.rows.raw(), good.rows.raw(), static_cast<size_t>(good.rows.nbytes())) == 0);
    CHECK(kept.open().second == "");
    return said;
  };
  for (const size_t size : {size_t{0}, size_t{5}, size_t{100}, bytes.size() / 2, bytes.size() - 1})
    rebuilt(bytes.substr(0, size));
  std::string flipped = bytes;
  flipped[bytes.size() - 2] ^= 1;  // of a centroid, or of a row number
  rebuilt(flipped);

  // Files that are whole but say nonsense.
  const Safetensors mapped(kept.file);
  const auto with = [&](const char* name, const Tensor& tensor) {
    std::vector<NamedTensor> tensors{{"centroids", good.centroids}, {"begins", good.begins}, {"rows", good.rows}};
    for (NamedTensor& t : tensors) {
      if (t.name == name) t.tensor = tensor;
    }
    const TemporaryFolder other;
    write_safetensors(other / "x", tensors, mapped.metadata());
    std::ifstream text(other / "x", std::ios::binary);
    return rebuilt({std::istreambuf_iterator<char>(text), {}});
  };
  const auto changed = [](const Tensor& x, int64_t at, int64_t value) {
    const Tensor y = Tensor::from(std::vector<int64_t>(x.data<int64_t>(), x.data<int64_t>() + x.numel()), x.shape());
    y.data<int64_t>()[at] = value;
    return y;
  };
  CHECK(with("rows", changed(good.rows, 3, 500)).find("each of 0 to 499 once was expected but place 3 has 500") !=
        std::string::npos);
  CHECK(with("rows", changed(good.rows, 3, -1)).find("place 3 has -1") != std::string::npos);
  CHECK(with("rows", changed(good.rows, 3, good.rows.data<int64_t>()[2])).find("place 3 has") != std::string::npos);
  CHECK(with("begins", changed(good.begins, 1, 1000)).find("numbers that rise from 0 to 500") != std::string::npos);
  CHECK(with("begins", changed(good.begins, 0, -5)).find("numbers that rise from 0 to 500") != std::string::npos);
  CHECK(with("centroids", Tensor::empty({good.cells(), 9})).find("centroids f32 [cells, 8] were expected") !=
        std::string::npos);
  Tensor nan = Tensor::empty(good.centroids.shape());
  std::fill_n(nan.data<float>(), nan.numel(), std::numeric_limits<float>::quiet_NaN());
  CHECK(with("centroids", nan).find("finite numbers were expected") != std::string::npos);
}

TEST_CASE("an index that cannot be kept is a note") {
  const Kept kept;
  kept.write(1);
  fs::create_directories(kept.folder / ".index.safetensors.tmp");  // where the file would be written first
  const auto [index, said] = kept.open();
  CHECK(said.find("note: the index is not kept: ") != std::string::npos);
  CHECK(notes(said) == 1);
  CHECK_FALSE(fs::exists(kept.file));
}

}  // namespace
}  // namespace weft
