#include "apps/index_cache.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "apps/progress.h"
#include "data/hash.h"
#include "kernels/device/parallel.h"
#include "tensor/json_file.h"
#include "tensor/safetensors.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

// Four lanes of multiply and rotate over one piece: what tells two contents apart, not what an adversary cannot forge.
uint64_t hash_piece(std::string_view bytes) {
  uint64_t lanes[4] = {1, 2, 3, 4};
  size_t at = 0;
  for (; at + 32 <= bytes.size(); at += 32) {
    for (size_t lane = 0; lane < 4; ++lane) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + at + 8 * lane, 8);
      lanes[lane] = std::rotl((lanes[lane] ^ word) * 0x9E3779B97F4A7C15u, 29);
    }
  }
  uint64_t hash = hash_text(bytes.substr(at)) ^ bytes.size();
  for (const uint64_t lane : lanes) hash = mix64(hash ^ lane);
  return hash;
}

uint64_t hash_of(const Tensor& tensor) {
  const std::string_view bytes(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.nbytes()));
  constexpr size_t piece = size_t{1} << 20;
  std::vector<uint64_t> hashes((bytes.size() + piece - 1) / piece);
  parallel_for(static_cast<int64_t>(hashes.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      hashes[i] = hash_piece(bytes.substr(i * piece, piece));
  });
  return hash_piece({reinterpret_cast<const char*>(hashes.data()), 8 * hashes.size()});
}

template <class... Tensors>
std::string hash_text_of(const Tensors&... tensors) {
  uint64_t hash = 0;
  ((hash = mix64(hash ^ hash_of(tensors))), ...);
  return fmt::format("{:016x}", hash);
}

// What a file looks like from outside: name, bytes, time of its last change.
nlohmann::json outside_of(const EmbeddingStore::Part& part) {
  return {part.file.filename().string(), fs::file_size(part.file),
          fs::last_write_time(part.file).time_since_epoch().count()};
}

std::string hash_of(const EmbeddingStore::Part& part) { return hash_text_of(part.keys, part.embeddings); }

ApproximateIndex read(const Safetensors& file, const UnitRows& rows) {
  for (const char* name : {"centroids", "begins", "rows"}) {
    check_input(file.find(name), "{}: tensor {} is missing", file.path(), name);
  }
  ApproximateIndex index{file.tensor("centroids"), file.tensor("begins"), file.tensor("rows")};
  index.check(rows.size(), rows.width(), file.path());
  return index;
}

std::string metadata_of(const Safetensors& file, const std::string& name) {
  const auto found = file.metadata().find(name);
  check_input(found != file.metadata().end(), "{}: metadata \"{}\" is missing", file.path(), name);
  return found->second;
}

enum class Origin { same, moved, other };

// Whether an index was made of these embeddings: `made_of` is a list of [what a file looks like, its bytes' hash].
Origin compare(const nlohmann::json& made_of, const std::vector<EmbeddingStore::Part>& parts) {
  if (!made_of.is_array() || made_of.size() != parts.size()) return Origin::other;
  Origin origin = Origin::same;
  for (size_t i = 0; i < parts.size(); ++i) {
    const nlohmann::json& then = made_of[i];
    if (!then.is_array() || then.size() != 2) return Origin::other;
    if (then[0] == outside_of(parts[i])) continue;
    if (then[1] != hash_of(parts[i])) return Origin::other;
    origin = Origin::moved;
  }
  return origin;
}

void keep(const ApproximateIndex& index, const nlohmann::json& made_of, const fs::path& file) {
  try {
    write_safetensors(file, {{"centroids", index.centroids}, {"begins", index.begins}, {"rows", index.rows}},
                      {{"made_of", made_of.dump()}, {"hash", hash_text_of(index.centroids, index.begins, index.rows)}});
  } catch (const std::runtime_error& error) {
    report_line(fmt::format("note: the index is not kept: {}", error.what()));
  }
}

nlohmann::json origin_of(const std::vector<EmbeddingStore::Part>& parts) {
  nlohmann::json made_of = nlohmann::json::array();
  for (const EmbeddingStore::Part& part : parts) made_of.push_back({outside_of(part), hash_of(part)});
  return made_of;
}

}  // namespace

ApproximateIndex cached_index(const std::vector<EmbeddingStore::Part>& parts, const UnitRows& rows,
                              const fs::path& file, bool quiet) {
  if (fs::exists(file)) {
    try {
      const Safetensors mapped(file);
      const Origin origin = compare(parse_json(metadata_of(mapped, "made_of"), file.string()), parts);
      if (origin == Origin::other) {
        if (!quiet)
          report_line(fmt::format("note: {}: made of other embeddings than are there now: built anew", file.string()));
      } else {
        ApproximateIndex index = read(mapped, rows);
        check_input(metadata_of(mapped, "hash") == hash_text_of(index.centroids, index.begins, index.rows),
                    "{}: other bytes were expected than are there", file.string());
        if (origin == Origin::moved) keep(index, origin_of(parts), file);
        return index;
      }
    } catch (const std::runtime_error& error) {
      report_line(fmt::format("note: the index is built anew: {}", error.what()));
    }
  }
  const nlohmann::json made_of = origin_of(parts);
  ApproximateIndex index = ApproximateIndex::build(rows, 0, 0, quiet);
  keep(index, made_of, file);
  return index;
}

}  // namespace weft
