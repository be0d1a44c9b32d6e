// The parts of the virtual GPU's runtime that need no kernel: fat binaries, GPUs, bounds, streams' order and clock.
#include "vgpu/runtime/fat_binary.h"

#include <doctest/doctest.h>
#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <stdexcept>

#include "vgpu/runtime/accounts.h"
#include "vgpu/runtime/arena.h"
#include "vgpu/runtime/bound.h"
#include "vgpu/runtime/cubin.h"
#include "vgpu/runtime/gpu.h"
#include "vgpu/runtime/report.h"
#include "vgpu/runtime/timeline.h"

using namespace vgpu;

namespace {

const std::string ptx_text =
    ".version 9.0\n.target sm_80\n// a kernel that is long enough to be compressed, compressed, compressed\n";

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// An entry as nvcc's fatbinary writes it.
std::string entry(uint16_t kind, uint32_t sm, uint64_t flags, std::string data, uint64_t full_size = 0) {
  uint32_t stored = static_cast<uint32_t>(data.size());
  data.resize((data.size() + 7) / 8 * 8, '\0');
  std::string bytes;
  put<uint16_t>(bytes, kind);
  put<uint16_t>(bytes, 0x101);
  put<uint32_t>(bytes, 64);
  put<uint64_t>(bytes, data.size());
  put<uint32_t>(bytes, full_size ? stored : 0);
  put<uint32_t>(bytes, 0);
  put<uint32_t>(bytes, 9 << 16);
  put<uint32_t>(bytes, sm);
  put<uint32_t>(bytes, 64);
  put<uint32_t>(bytes, 0);
  put<uint64_t>(bytes, 0x11 | flags);
  put<uint64_t>(bytes, 0);
  put<uint64_t>(bytes, full_size);
  return bytes + data;
}

std::string fat_binary(const std::vector<std::string>& entries) {
  std::string all, bytes;
  for (const std::string& e : entries) all += e;
  put<uint32_t>(bytes, 0xBA55ED50);
  put<uint16_t>(bytes, 1);
  put<uint16_t>(bytes, 16);
  put<uint64_t>(bytes, all.size());
  return bytes + all;
}

std::string lz4(const std::string& text) {
  std::string bytes(static_cast<size_t>(LZ4_compressBound(static_cast<int>(text.size()))), '\0');
  int size =
      LZ4_compress_default(text.data(), bytes.data(), static_cast<int>(text.size()), static_cast<int>(bytes.size()));
  bytes.resize(static_cast<size_t>(size));
  return bytes;
}

std::string zstd(const std::string& text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  return bytes;
}

std::vector<Image> images_of(const std::string& bytes) { return read_fat_binary(bytes.data(), bytes.size()); }

KernelCounts counts_with(const std::string& instruction, const Counts& counts) {
  KernelCounts kernel;
  kernel.total = counts;
  kernel.instructions.push_back({instruction, 1, "file.cu", 1, counts});
  return kernel;
}

double term(const Bound& bound, const std::string& name) {
  for (const Bound::Term& t : bound.terms) {
    if (t.name == name) return t.seconds;
  }
  throw std::runtime_error("no term " + name);
}

}  // namespace

TEST_CASE("PTX is read plain and as nvcc compresses it") {
  std::string bytes = fat_binary({entry(2, 80, 0,
                                        "\x7f"
                                        "ELF"),
                                  entry(1, 80, 0, ptx_text), entry(1, 90, 0x2000, lz4(ptx_text), ptx_text.size()),
                                  entry(1, 100, 0x8000, zstd(ptx_text), ptx_text.size()), entry(16, 80, 0, "unknown")});
  std::vector<Image> images = images_of(bytes);
  REQUIRE(images.size() == 4);
  CHECK(images[0].kind == Image::Kind::sass);
  for (size_t i : {1, 2, 3}) {
    CHECK(images[i].kind == Image::Kind::ptx);
    CHECK(image_bytes(images[i]) == ptx_text);
  }
}

TEST_CASE("the PTX that a driver would choose") {
  std::string bytes = fat_binary({entry(1, 75, 0, ptx_text), entry(1, 80, 0, ptx_text),
                                  entry(1, 90, 0x100000, ptx_text), entry(1, 100, 0x200000, ptx_text)});
  std::vector<Image> images = images_of(bytes);
  CHECK(best_ptx(images, 90) == &images[2]);
  CHECK(best_ptx(images, 89) == &images[1]);
  CHECK(best_ptx(images, 103) == &images[3]);  // 100f runs on its family
  CHECK(best_ptx(images, 120) == &images[1]);  // 90a and 100f do not run there
  CHECK(best_ptx(images, 70) == nullptr);
}

TEST_CASE("damaged fat binaries are told, not followed") {
  std::string good = fat_binary({entry(1, 80, 0x2000, lz4(ptx_text), ptx_text.size()), entry(1, 90, 0, ptx_text)});
  REQUIRE(images_of(good).size() == 2);
  for (size_t size = 0; size < good.size(); ++size)
    CHECK_THROWS_AS(images_of(good.substr(0, size)), std::runtime_error);
  // Any single byte changed is either found or gives images that can be asked for their bytes.
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0xff);
    try {
      for (const Image& image : images_of(bad)) (void)image_bytes(image);
    } catch (const std::runtime_error&) {
    }
  }
  std::string wrong_size = fat_binary({entry(1, 80, 0x8000, zstd(ptx_text), ptx_text.size() + 1)});
  CHECK_THROWS_AS(image_bytes(images_of(wrong_size)[0]), std::runtime_error);
  CHECK_THROWS_AS(read_cubin("\x7f"
                             "ELF and nothing more",
                             80),
                  std::runtime_error);
  CHECK_THROWS_AS(read_cubin("", 80), std::runtime_error);
}

TEST_CASE("GPUs are known by name") {
  CHECK(gpu_named("a100").sm() == 80);
  CHECK(gpu_named("rtx4090").sm() == 89);
  CHECK_THROWS_WITH_AS(gpu_named("h200"), "--gpu takes one of h100, a100, rtx4090 but is 'h200'",
                       std::invalid_argument);
}

TEST_CASE("the bound is the slowest unit's time") {
  const Gpu& gpu = gpu_named("h100");
  double cycle = 1 / (132 * 1.98e9);
  Counts counts;
  counts.flop_fma = 256 * 1320;
  CHECK(term(speed_of_light(gpu, counts_with("fma.rn.f32 %f16, %f1, %f2, %f3;", counts), 1320), "f32") ==
        doctest::Approx(1320 * cycle));
  CHECK(term(speed_of_light(gpu, counts_with("@%p1 fma.rn.bf16x2 %r1, %r2;", counts), 132), "f16") ==
        doctest::Approx(660 * cycle));
  // One block keeps one SM busy, and 133 blocks keep one SM busy twice as long as the others.
  CHECK(term(speed_of_light(gpu, counts_with("add.f32", counts), 1), "f32") == doctest::Approx(132 * 1320 * cycle));
  CHECK(term(speed_of_light(gpu, counts_with("add.f32", counts), 133), "f32") ==
        doctest::Approx(2 * 132. / 133 * 1320 * cycle));
  Counts tensor;
  tensor.flop_mma = 989'400'000;
  CHECK(term(speed_of_light(gpu, counts_with("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {}", tensor), 132),
             "tensor cores") == doctest::Approx(1e-6));
  KernelCounts copy;
  copy.unique_read_bytes = copy.unique_written_bytes = 3'350'000;
  copy.total.global_sectors = 2 * 3'350'000 / 32;
  Bound bound = speed_of_light(gpu, copy, 1000);
  CHECK(bound.limiter() == "memory");
  CHECK(bound.seconds == doctest::Approx(2e-6));
}

TEST_CASE("launches that took different branches add up") {
  auto launch = [](std::vector<int> lines) {
    KernelCounts counts;
    counts.launches = 1;
    for (int line : lines) {
      InstructionCounts instruction{"add", line, "file.cu", line, {}};
      instruction.counts.instructions = 1;
      counts.total += instruction.counts;
      counts.instructions.push_back(instruction);
    }
    return counts;
  };
  KernelCounts sum;
  add_counts(sum, launch({3, 7, 5}));
  add_counts(sum, launch({1, 5, 9}));
  CHECK(sum.launches == 2);
  CHECK(sum.total.instructions == 6);
  std::string seen;
  for (const InstructionCounts& i : sum.instructions) {
    seen += std::to_string(i.ptx_line) + ":" + std::to_string(i.counts.instructions) + " ";
  }
  CHECK(seen == "1:1 3:1 5:2 7:1 9:1 ");
}

TEST_CASE("occupancy and its limit") {
  const Gpu& gpu = gpu_named("h100");
  Occupancy registers = occupancy(gpu, {90, 56, 0, 8448}, 8448, 0, 256, 0);
  CHECK(registers.blocks_per_sm == 4);
  CHECK(registers.fraction == 0.5);
  CHECK(registers.limit == "registers");
  CHECK(occupancy(gpu, {90, 32, 0, 0}, 0, 100 * 1024, 128, 100 * 1024).limit == "shared memory");
  CHECK(occupancy(gpu, {90, 16, 0, 0}, 0, 0, 1024, 0).fraction == 1);
}

TEST_CASE("names and times for people") {
  CHECK(readable_name("_Z5saxpyifPKfPf") == "saxpy");
  CHECK(readable_name("_ZN4tile4gemmIfLi64EEEvPKT_") == "tile::gemm<float, 64>");
  CHECK(readable_name("_ZN12_GLOBAL__N_14fillEPfi") == "(anonymous namespace)::fill");
  CHECK(readable_name("plain_c") == "plain_c");
  CHECK(without_namespaces("weft::(anonymous namespace)::sum<weft::Team, 2>") == "sum<weft::Team, 2>");
  CHECK(readable_seconds(1.5e-6) == "1.5 us");
}

TEST_CASE("the arena hands out addresses, joins what is given back, and closes") {
  Arena arena(1 << 20);
  auto* a = static_cast<char*>(arena.allocate(512));
  auto* b = static_cast<char*>(arena.allocate(8192));
  auto* c = static_cast<char*>(arena.allocate(512));
  REQUIRE((a && b && c));
  CHECK(arena.contains(c));
  CHECK(!arena.contains(&arena));
  arena.open();
  std::memset(b, 7, 8192);
  auto* late = static_cast<char*>(arena.allocate(512));
  *late = 1;  // memory that is new while the arena is open is open too
  arena.free(late, 512);
  arena.close();
  arena.free(a, 512);
  arena.free(c, 512);
  arena.free(b, 8192);
  CHECK(arena.allocate(1 << 20) == a);
  CHECK(arena.allocate(512) == nullptr);
}

TEST_CASE("streams run in order, side by side in the modelled time") {
  for (uint64_t seed : {0, 1, 2, 3, 4, 5}) {
    Timeline timeline(seed);
    Stream &a = timeline.create(0, 0, false), &b = timeline.create(0, 0, false);
    std::vector<int> order;
    auto step = [&](int number, double seconds) {
      return [&order, number, seconds] {
        order.push_back(number);
        return seconds;
      };
    };
    timeline.submit(a, step(1, 2.0));
    OperationPtr second = timeline.submit(a, step(2, 3.0));
    OperationPtr other = timeline.submit(b, step(3, 1.0));
    b.waits.push_back(second);
    OperationPtr last = timeline.submit(b, step(4, 4.0));
    timeline.complete(last);
    REQUIRE(order.size() == 4);
    auto place = [&](int number) { return std::find(order.begin(), order.end(), number) - order.begin(); };
    CHECK(place(1) < place(2));
    CHECK(place(2) < place(4));
    CHECK(place(3) < place(4));
    CHECK(other->end == 1.0);
    CHECK(second->end == 5.0);
    CHECK(last->end == 9.0);
    // What comes after the host's wait starts no earlier.
    CHECK(timeline.submit(a, {})->issued == 9.0);
  }
}

TEST_CASE("the default stream waits for blocking streams and they for it") {
  for (uint64_t seed : {0, 7, 8, 9}) {
    Timeline timeline(seed);
    Stream &blocking = timeline.create(0, 0, true), &free = timeline.create(0, 0, false);
    auto takes = [](double seconds) { return [seconds] { return seconds; }; };
    timeline.submit(blocking, takes(2));
    OperationPtr on_default = timeline.submit(timeline.legacy(), takes(1));
    OperationPtr after = timeline.submit(blocking, takes(1));
    OperationPtr beside = timeline.submit(free, takes(1));
    if (seed == 0) CHECK(timeline.idle(timeline.legacy()));
    timeline.complete_all();
    CHECK(timeline.idle(timeline.legacy()));
    CHECK(on_default->end == 3);
    CHECK(after->end == 4);
    CHECK(beside->end == 1);
  }
}

TEST_CASE("a seed holds work back until it is waited for, and draws different orders") {
  bool held_back = false, swapped = false;
  for (uint64_t seed = 1; seed < 20; ++seed) {
    Timeline timeline(seed);
    Stream &a = timeline.create(0, 0, false), &b = timeline.create(0, 0, false);
    std::vector<int> order;
    for (auto [stream, number] : {std::pair{&a, 1}, std::pair{&b, 2}}) {
      timeline.submit(*stream, [&order, number = number] {
        order.push_back(number);
        return 0.0;
      });
    }
    held_back |= order.size() < 2;
    timeline.complete_all();
    REQUIRE(order.size() == 2);
    swapped |= order[0] == 2;
  }
  CHECK(held_back);
  CHECK(swapped);
}
