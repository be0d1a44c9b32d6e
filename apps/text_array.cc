#include "apps/text_array.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "apps/interrupt.h"
#include "apps/progress.h"
#include "data/hash.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"
#include "tensor/files/npy.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes sync_interval{5};

// The part file: a header and rows of a fixed size, which can be read back while it grows.
class GrowingArray {
 public:
  GrowingArray(const fs::path& part, const std::string& header, int64_t row_bytes, int64_t kept)
      : part_(part), header_bytes_(static_cast<int64_t>(header.size())), row_bytes_(row_bytes) {
    descriptor_ = open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor_ < 0) failed("created");
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      close(descriptor_);
      fail("{}: another process is writing this file", part.string());
    }
    struct stat found;
    if (fstat(descriptor_, &found) != 0) failed("read");
    check_input(kept == 0 || found.st_size >= offset(kept),
                "{}: {} rows were expected but it ends before them: remove its .state to start again", part.string(),
                kept);
    const int64_t bytes = kept == 0 ? 0 : offset(kept);
    if (ftruncate(descriptor_, bytes) != 0 || lseek(descriptor_, bytes, SEEK_SET) < 0) failed("written");
    if (kept == 0) append(header.data(), header_bytes_);
  }
  ~GrowingArray() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  GrowingArray(const GrowingArray&) = delete;

  void append(const void* bytes, int64_t count) {
    const char* next = static_cast<const char*>(bytes);
    while (count > 0) {
      const ssize_t written = ::write(descriptor_, next, static_cast<size_t>(count));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) failed("written");
      next += written;
      count -= written;
    }
  }
  void read(int64_t row, void* to) const {
    int64_t done = 0;
    while (done < row_bytes_) {
      const ssize_t got = pread(descriptor_, static_cast<char*>(to) + done, static_cast<size_t>(row_bytes_ - done),
                                offset(row) + done);
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) errno = 0;
      if (got <= 0) failed("read");
      done += got;
    }
  }
  void sync() {
    if (fsync(descriptor_) != 0) failed("written");
  }

 private:
  int64_t offset(int64_t row) const { return header_bytes_ + row * row_bytes_; }
  [[noreturn]] void failed(const char* what) const {
    fail("{}: cannot be {}: {}", part_.string(), what, errno ? std::strerror(errno) : "it ends too early");
  }

  fs::path part_;
  int64_t header_bytes_, row_bytes_;
  int descriptor_ = -1;
};

// All rows of all tables, one after another.
struct Texts {
  std::vector<std::string_view> of_item;
  std::vector<int64_t> ids;
  std::vector<int64_t> first;  // the first item with the same text
  int64_t distinct = 0;
  uint64_t digest = 0;

  explicit Texts(const std::vector<GlamiTable>& tables) {
    std::unordered_map<std::string_view, int64_t> seen;
    for (const GlamiTable& table : tables) {
      for (size_t row = 0; row < table.size(); ++row) {
        const auto [at, fresh] = seen.emplace(table.text(row), static_cast<int64_t>(of_item.size()));
        distinct += fresh;
        first.push_back(at->second);
        of_item.push_back(table.text(row));
        ids.push_back(table[row].item_id);
        digest = mix64(digest ^ hash_text(table.text(row)) ^ static_cast<uint64_t>(ids.back()));
      }
    }
  }
  int64_t size() const { return static_cast<int64_t>(of_item.size()); }
};

struct Files {
  fs::path array, part, state, ids, mask;

  explicit Files(const fs::path& file)
      : array(file), part(file.string() + ".part"), state(file.string() + ".state"), ids(beside(file, "_ids")),
        mask(beside(file, "_mask")) {}
  static fs::path beside(const fs::path& file, const char* what) {
    return file.parent_path() / (file.stem().string() + what + ".npy");
  }
};

// Items that an interrupted run has done.
int64_t done_before(const Files& files, const std::string& made_from, int64_t items) {
  if (!fs::exists(files.state)) return 0;
  const nlohmann::json state = read_json_file(files.state);
  const ConfigReader read(state, files.state.string());
  const std::string found = read.text("made_from");
  check_input(found == made_from, "{}: was begun from {} but now it is {}: remove it to start again",
              files.state.string(), quote(found), quote(made_from));
  return read.integer("items", 0, items);
}

void write_masks(const TextEmbedder& embedder, const Texts& texts, const fs::path& file) {
  const Tensor masks = Tensor::empty({texts.size(), embedder.max_tokens}, DType::boolean);
  constexpr int64_t at_a_time = 4096;
  for (int64_t begin = 0; begin < texts.size(); begin += at_a_time) {
    const int64_t end = std::min(texts.size(), begin + at_a_time);
    masks.leading(begin, end).copy_from(
        embedder.mask(std::vector<std::string>(texts.of_item.begin() + begin, texts.of_item.begin() + end)));
  }
  write_npy(file, masks);
}

// The texts of items [begin, end) that are there for the first time, and for each item its place among them, or -1.
struct Chunk {
  std::vector<std::string> fresh;
  std::vector<int64_t> place;

  Chunk(const Texts& texts, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = texts.first[static_cast<size_t>(i)];
      if (first == i) {
        place.push_back(static_cast<int64_t>(fresh.size()));
        fresh.emplace_back(texts.of_item[static_cast<size_t>(i)]);
      } else {
        place.push_back(first < begin ? -1 : place[static_cast<size_t>(first - begin)]);
      }
    }
  }
};

}  // namespace

TextArrayCount write_text_array(const TextEmbedder& embedder, const std::vector<GlamiTable>& tables,
                                const fs::path& file, int64_t batch, bool quiet) {
  const Files files(file);
  const Texts texts(tables);
  // How texts share a batch can change the last bits of their embeddings.
  const std::string made_from =
      fmt::format("{}, batches of {}, items {:016x}", embedder.made_from, batch, texts.digest);
  TextArrayCount count{texts.size(), texts.distinct, 0};
  int64_t done = done_before(files, made_from, texts.size());
  if (fs::exists(files.array)) {
    check_input(done == texts.size() && !fs::exists(files.part), "{}: exists already: name a new file",
                file.string());
    fs::remove(files.state);
    return count;
  }

  const Shape row = embedder.shape();
  const int64_t width = row.numel(), row_bytes = width * static_cast<int64_t>(sizeof(float));
  std::vector<int64_t> extents{texts.size()};
  extents.insert(extents.end(), row.begin(), row.end());
  GrowingArray array(files.part, npy_header(DType::f32, Shape(extents)), row_bytes, done);
  const auto keep = [&] {
    array.sync();
    write_json_file(files.state, {{"made_from", made_from}, {"items", done}});
  };
  Progress progress("texts", texts.size(), "items", quiet);
  auto kept_at = std::chrono::steady_clock::now();
  std::vector<float> copy(static_cast<size_t>(width));
  while (done < texts.size()) {
    const auto now = std::chrono::steady_clock::now();
    if (interrupted() || now - kept_at > sync_interval) {
      keep();
      kept_at = now;
      check_input(!interrupted(),
                  "interrupted at item {} of {}; what was done is kept, and the same command goes on from there", done,
                  texts.size());
    }
    const int64_t end = std::min(texts.size(), done + batch);
    const Chunk chunk(texts, done, end);
    const Tensor rows = Tensor::empty({static_cast<int64_t>(chunk.fresh.size()), width}, DType::f32);
    if (!chunk.fresh.empty()) rows.copy_from(embedder(chunk.fresh).reshape(rows.shape()).to(Device::cpu));
    for (int64_t i = done; i < end; ++i) {
      const int64_t place = chunk.place[static_cast<size_t>(i - done)];
      if (place < 0) array.read(texts.first[static_cast<size_t>(i)], copy.data());
      array.append(place < 0 ? copy.data() : rows.data<float>() + place * width, row_bytes);
    }
    count.computed += static_cast<int64_t>(chunk.fresh.size());
    progress.update(done = end);
  }
  keep();
  if (embedder.hidden == HiddenStates::whole) write_masks(embedder, texts, files.mask);
  write_npy(files.ids, Tensor::from(texts.ids, {texts.size()}));
  fs::rename(files.part, files.array);
  fs::remove(files.state);
  return count;
}

}  // namespace weft
