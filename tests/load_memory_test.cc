// What loading a model takes: views where the dtype is the file's, copies that give the file's pages back where it is
// trained. WEFT_LOAD_MIB=2048 makes the model that large (in a file with holes, which takes no room on the disk).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "kernels/device/product.h"
#include "kernels/matmul.h"
#include "nn/params.h"
#include "tensor/files/tensor_file.h"
#include "tests/archive_builder.h"
#include "tests/temporary_folder.h"

using namespace weft;

namespace {

constexpr int tensors = 32;

int64_t model_bytes() {
  const char* mebibytes = std::getenv("WEFT_LOAD_MIB");
  return (mebibytes ? std::atoll(mebibytes) : 256) << 20;
}
int64_t rows() { return model_bytes() / tensors / 4096; }  // of 1024 floats

std::filesystem::path holes(const std::filesystem::path& path, const std::string& begin, int64_t bytes) {
  std::ofstream(path, std::ios::binary) << begin;
  std::filesystem::resize_file(path, begin.size() + static_cast<size_t>(bytes));
  return path;
}

// A model of 32 equal matrices of zeros.
std::filesystem::path safetensors_model(const TemporaryFolder& folder) {
  std::string header = "{";
  for (int i = 0; i < tensors; ++i) {
    header += fmt::format("{}\"w{}\":{{\"dtype\":\"F32\",\"shape\":[{},1024],\"data_offsets\":[{},{}]}}", i ? "," : "", i, rows(),
                          i * rows() * 4096, (i + 1) * rows() * 4096);
  }
  header += "}";
  header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
  return holes(folder / "model.safetensors", archive::bytes_of<uint64_t>(header.size()) + header, tensors * rows() * 4096);
}

// Reads every element, as a computation would.
double sum(const Tensor& t) {
  double total = 0;
  for (int64_t i = 0; i < t.numel(); ++i) total += static_cast<double>(t.data<float>()[i]);
  return total;
}

// Peak resident memory of a process of its own, in parts of the model's size.
double peak(const char* what, const std::function<bool()>& load) {
  const pid_t child = fork();
  if (child == 0) _exit(load() ? 0 : 1);
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  CHECK(status == 0);
  const double times = static_cast<double>(usage.ru_maxrss) * 1024 / static_cast<double>(model_bytes());
  MESSAGE(fmt::format("{}: {} MiB for a model of {} MiB, {:.3f} times", what, usage.ru_maxrss >> 10, model_bytes() >> 20, times));
  return times;
}

}  // namespace

TEST_CASE("loading takes less than 1.2 times the model") {
  const TemporaryFolder folder;
  const auto path = safetensors_model(folder);
  for (const bool trainable : {false, true}) {
    CHECK(peak(trainable ? "trained" : "frozen", [&] {
            ParameterSet set;
            const Params p = Params(set).trainable(trainable).from(Safetensors(path));
            double total = 0;
            for (int i = 0; i < tensors; ++i) total += sum(p.parameter(fmt::format("w{}", i), {rows(), 1024}, init::zeros()));
            set.check_all_used();
            return total == 0;
          }) < 1.2);
  }
  CHECK(peak("any format", [&] {
          const TensorFile file(path);
          double total = 0;
          for (const auto& entry : file.entries()) total += sum(file.load(entry));
          return total == 0;
        }) < 1.2);
}

// oneDNN packs weights, so that with its products a model is in memory once. Those by hand leave it where it is.
TEST_CASE("a frozen model that many rows go through stays in its file") {
  const TemporaryFolder folder;
  const auto path = safetensors_model(folder);
  for (const int64_t rows_of_x : {256, 1100}) {
    const bool by_hand = product_takes(rows_of_x, rows(), 1024, true);
    CHECK(peak(by_hand ? "run, products by hand" : "run, products by oneDNN", [&] {
            ParameterSet set;
            const Params p = Params(set).trainable(false).from(Safetensors(path));
            const Tensor x = Tensor::full({rows_of_x, 1024}, 1);
            double total = 0;
            for (int i = 0; i < tensors; ++i) {
              total += linear(x, p.parameter(fmt::format("w{}", i), {rows(), 1024}, init::zeros())).data<float>()[0];
            }
            return total == 0;
          }) < (by_hand ? 0.2 : 1.6));
  }
}

TEST_CASE("a PyTorch archive of more than 4 GiB, with zip64") {
  const TemporaryFolder folder;
  const auto path = folder / "big.pt";
  // 5 GiB of holes between the first member and the last; both and the directory lie behind 32 bits.
  constexpr uint64_t count = uint64_t{5} << 28;
  using namespace archive;
  const Member big{"x/data/0", ""};
  const std::string head = local_header(big);
  const uint64_t second = head.size() + 4 * count;
  const Member pickle{"x/data.pkl", protocol + global("torch._utils", "_rebuild_tensor_v2") +
                                        tuple({storage("0", static_cast<int32_t>(count)), integer(static_cast<int32_t>(count - 1)), ")", ")",
                                               "\x89", "}"}) + "R."};
  const auto wide = [](const Member& m, uint64_t size, uint64_t offset) {
    Member marked = m;
    marked.zip64 = true;
    std::string entry = central_header(marked, 0);
    entry.replace(entry.size() - 24, 24, bytes_of(size) + bytes_of(size) + bytes_of(offset));
    return entry;
  };
  std::string tail = local_header(pickle) + pickle.bytes;
  const uint64_t directory = second + tail.size();
  const std::string entries = wide(big, 4 * count, 0) + wide(pickle, pickle.bytes.size(), second);
  tail += entries;
  const uint64_t end = second + tail.size();
  tail += "PK\6\6" + bytes_of<uint64_t>(44) + bytes_of<uint32_t>(0) + bytes_of<uint64_t>(0) + bytes_of<uint64_t>(2) + bytes_of<uint64_t>(2) +
          bytes_of<uint64_t>(entries.size()) + bytes_of(directory) + "PK\6\7" + bytes_of<uint32_t>(0) + bytes_of(end) + bytes_of<uint32_t>(1) +
          end_record(0xffff, ~uint32_t{0}, ~uint32_t{0});
  holes(path, head, static_cast<int64_t>(4 * count));
  std::ofstream(path, std::ios::binary | std::ios::app) << tail;
  const int descriptor = open(path.c_str(), O_RDWR);
  REQUIRE(descriptor >= 0);
  const float value = 2.5f;
  CHECK(pwrite(descriptor, &value, 4, static_cast<off_t>(second - 4)) == 4);
  close(descriptor);
  CHECK(TensorFile(path).load("tensor").item() == 2.5);
}
