// Runs a fuzz target without a fuzzer: on every seed, then for a while on seeds changed in ways that depend on a fixed
// number only. Every input may take twice its size and 64 MiB of memory and no more.
// Usage: NAME_fuzz SEEDS [SECONDS]
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "tensor/memory.h"
#include "tests/fuzz/fuzz.h"

namespace {

using Bytes = std::vector<uint8_t>;

// Kilobytes of private writable memory, which RLIMIT_DATA bounds.
uint64_t data_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t value = 0;
    if (word == "VmData:" && status >> value) return value;
  }
  std::abort();
}

void run(const Bytes& input) {
  weft::release_cached_memory(weft::Device::cpu);
  malloc_trim(0);
  rlimit before{};
  getrlimit(RLIMIT_DATA, &before);
#if !defined(__SANITIZE_ADDRESS__)
  rlimit bound = before;
  bound.rlim_cur = std::min<uint64_t>(before.rlim_max, data_kilobytes() * 1024 + 2 * input.size() + (64 << 20));
  setrlimit(RLIMIT_DATA, &bound);
#endif
  LLVMFuzzerTestOneInput(input.data(), input.size());
  setrlimit(RLIMIT_DATA, &before);
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& seeds) : seeds_(seeds) {}

  Bytes next() {
    Bytes bytes = seeds_[below(seeds_.size())];
    for (uint64_t edits = 1 + below(4); edits > 0; --edits) edit(bytes);
    return bytes;
  }

 private:
  uint64_t below(uint64_t n) { return random_() % std::max<uint64_t>(n, 1); }

  void edit(Bytes& bytes) {
    // Half of the places are near an end, where headers and directories are.
    const uint64_t span = std::min<uint64_t>(bytes.size(), 400);
    const uint64_t kind = below(9);
    uint64_t at = below(bytes.size());
    if (below(4) == 0) at = below(span);
    if (below(4) == 0) at = bytes.size() - 1 - below(span);
    if (bytes.empty() || kind == 0) {
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(at, bytes.size())), static_cast<uint8_t>(below(256)));
    } else if (kind == 1) {
      bytes[at] ^= static_cast<uint8_t>(1u << below(8));
    } else if (kind == 2) {
      bytes[at] = static_cast<uint8_t>(below(256));
    } else if (kind == 3) {
      bytes.resize(at);
    } else if (kind == 4) {
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(bytes.size(), at + 1 + below(16))));
    } else if (kind == 5) {
      const uint64_t numbers[] = {0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, ~uint64_t{0}, uint64_t{1} << 62};
      const uint64_t value = numbers[below(std::size(numbers))], width = uint64_t{1} << below(4);
      std::memcpy(bytes.data() + at, &value, std::min<uint64_t>(width, bytes.size() - at));
    } else if (kind == 6) {
      const Bytes& other = seeds_[below(seeds_.size())];
      const uint64_t from = below(other.size()), count = std::min<uint64_t>(other.size() - from, 1 + below(64));
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), other.begin() + static_cast<std::ptrdiff_t>(from),
                   other.begin() + static_cast<std::ptrdiff_t>(from + count));
    } else if (kind == 7) {
      std::swap(bytes[at], bytes[below(bytes.size())]);
    } else {
      // A piece many times over: what costs memory for every byte shows.
      const uint64_t count = std::min<uint64_t>(bytes.size() - at, 1 + below(24)), times = below(200) == 0 ? 40000 : below(20);
      const Bytes piece(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(at + count));
      Bytes repeated;
      for (uint64_t i = 0; i < times; ++i) repeated.insert(repeated.end(), piece.begin(), piece.end());
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), repeated.begin(), repeated.end());
    }
  }

  const std::vector<Bytes>& seeds_;
  std::mt19937_64 random_{20261123};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "error: a folder of seeds was expected\n");
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<Bytes> seeds;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    run(seeds.back());
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "error: %s has no seeds\n", argv[1]);
    return 1;
  }
  Mutator mutator(seeds);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(argc > 2 ? std::atof(argv[2]) : 1.5);
  int64_t inputs = 0;
  for (; std::chrono::steady_clock::now() < end; ++inputs) run(mutator.next());
  std::printf("%zu seeds, %lld inputs made of them\n", seeds.size(), static_cast<long long>(inputs));
  return 0;
}
