// The safetensors reader: every attack gets its error, every dtype makes the round trip.
#include "tensor/safetensors.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tensor/atomic_file.h"
#include "tensor/philox.h"
#include "tests/temporary_folder.h"

using namespace weft;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>(length >> (8 * i));
  return file + rest;
}
std::string with_header(const std::string& header, const std::string& data = "") {
  return with_length(header.size(), header + data);
}

void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}
std::string get(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What opening a file of these bytes says, without the file's name.
std::string refusal(const std::string& bytes) {
  const TemporaryFolder folder;
  put(folder / "x", bytes);
  try {
    const Safetensors file(folder / "x");
    for (const auto& e : file.entries()) file.tensor(e.name);
  } catch (const std::runtime_error& e) {
    const std::string text = e.what(), prefix = (folder / "x").string() + ": ";
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.starts_with(prefix));
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "accepted";
}

const std::string four_floats = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";

}  // namespace

TEST_CASE("a good file is accepted") {
  CHECK(refusal(with_header(four_floats, std::string(16, 'x'))) == "accepted");
  CHECK(refusal(with_header(four_floats + "   ", std::string(16, 'x'))) == "accepted");
  CHECK(refusal(with_header("{}")) == "accepted");
  CHECK(refusal(with_header(R"({"__metadata__":{"format":"pt"}})")) == "accepted");
}

TEST_CASE("attacks on the header's length") {
  CHECK(refusal("") == "the file must begin with 8 bytes of header length but has 0 bytes");
  CHECK(refusal("1234567") == "the file must begin with 8 bytes of header length but has 7 bytes");
  CHECK(refusal(with_length(0, "")) == "offset 8: the header must begin with '{'");
  CHECK(refusal(with_length(100'000'001, "{}")) == "the header must have at most 100000000 bytes but claims 100000001");
  CHECK(refusal(with_length(~uint64_t{0}, "{}")) ==
        "the header must have at most 100000000 bytes but claims 18446744073709551615");
  CHECK(refusal(with_length(3, "{}")) == "the header claims 3 bytes but 2 follow its length");
}

TEST_CASE("attacks on the header's text") {
  CHECK(refusal(with_header(" {}")) == "offset 8: the header must begin with '{'");
  CHECK(refusal(with_header("\xef\xbb\xbf{}")) == "offset 8: the header must begin with '{'");
  CHECK(refusal(with_header("[]")) == "offset 8: the header must begin with '{'");
  CHECK(refusal(with_header("{")) == "the header must end with '}' and spaces");
  CHECK(refusal(with_header("{}\n")) == "the header must end with '}' and spaces");
  CHECK(refusal(with_header(std::string("{}\0{}", 5))) == "the header must end with '}' and spaces");
  CHECK(refusal(with_header("{}{}")).ends_with("the header must be JSON in UTF-8 but is not"));
  CHECK(refusal(with_header("{\"a\":}")) == "offset 13: the header must be JSON in UTF-8 but is not");
  CHECK(refusal(with_header("{\"\xff\":{}}")).ends_with("the header must be JSON in UTF-8 but is not"));
  CHECK(refusal(with_header("{\"a\":1e999}")).ends_with("the header must be JSON in UTF-8 but is not"));
  // Deep nesting costs neither stack nor time.
  std::string deep = "{\"a\":";
  for (int i = 0; i < 1'000'000; ++i) deep += "{\"a\":";
  CHECK(refusal(with_header(deep + "}")) ==
        "tensor 'a': the keys must be dtype, shape and data_offsets but one is 'a'");
  CHECK(refusal(with_header("{\"a\":" + std::string(1'000'000, '[') + "}")) ==
        "tensor 'a': an object was expected but found an array");
}

TEST_CASE("attacks on keys and types") {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(refusal(with_header("{" + a + "," + a + "}", "x")) ==
        "tensor 'a': every name must occur once but it occurs twice");
  CHECK(refusal(with_header(R"({"a":{"dtype":"U8","dtype":"F32"}})")) ==
        "tensor 'a': every key must occur once but dtype occurs twice");
  CHECK(refusal(with_header(R"({"__metadata__":{"k":"1","k":"2"}})")) ==
        "metadata 'k': every key must occur once but it occurs twice");
  CHECK(refusal(with_header(R"({"__metadata__":{},"__metadata__":{}})")) ==
        "tensor '__metadata__': every name must occur once but it occurs twice");
  CHECK(refusal(with_header(R"({"__metadata__":{"k":1}})")) ==
        "metadata 'k': a string was expected but found a number");
  CHECK(refusal(with_header(R"({"__metadata__":{"k":null}})")) == "metadata 'k': a string was expected but found null");
  CHECK(refusal(with_header(R"({"__metadata__":{"k":{}}})")) ==
        "metadata 'k': a string was expected but found an object");
  CHECK(refusal(with_header(R"({"__metadata__":"x"})")) ==
        "tensor '__metadata__': an object was expected but found a string");
  CHECK(refusal(with_header(R"({"a":3})")) == "tensor 'a': an object was expected but found a number");
  CHECK(refusal(with_header(R"({"a\n\u0007":true})")) ==
        "tensor 'a\\x0a\\x07': an object was expected but found a boolean");
  CHECK(refusal(with_header("{\"" + std::string(10'000, 'n') + "\":3}")) ==
        "tensor '" + std::string(80, 'n') + "...': an object was expected but found a number");
  CHECK(refusal(with_header(R"({"a":{"extra":1}})")) ==
        "tensor 'a': the keys must be dtype, shape and data_offsets but one is 'extra'");
  CHECK(refusal(with_header(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "x")) ==
        "tensor 'a': the dtype must be one of F32, BF16, F16, F64, I32, I64, U8, BOOL but is 'F8_E4M3'");
  CHECK(refusal(with_header(R"({"a":{"dtype":1}})")) == "tensor 'a': dtype must be a string but is a number");
  CHECK(refusal(with_header(R"({"a":{"dtype":["F32"]}})")) == "tensor 'a': dtype must be a string but is an array");
  CHECK(refusal(with_header(R"({"a":{"shape":"x"}})")) == "tensor 'a': shape must be an array but is a string");
  CHECK(refusal(with_header(R"({"a":{"shape":[1]}})")) == "tensor 'a': dtype is missing");
  CHECK(refusal(with_header(R"({"a":{"dtype":"U8"}})")) == "tensor 'a': shape is missing");
  CHECK(refusal(with_header(R"({"a":{"dtype":"U8","shape":[0]}})")) == "tensor 'a': data_offsets is missing");
}

TEST_CASE("attacks on shapes and offsets") {
  const auto tensor = [](const std::string& shape, const std::string& offsets, const std::string& data = "") {
    return refusal(
        with_header(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", data));
  };
  CHECK(tensor("[-1]", "[0,4]", "1234") == "tensor 'a': shape must hold numbers of at least 0 but holds -1");
  CHECK(tensor("[1.0]", "[0,4]", "1234") == "tensor 'a': shape must hold numbers of at least 0 but holds '1.0'");
  CHECK(tensor("[[1]]", "[0,4]", "1234") == "tensor 'a': shape must hold numbers of at least 0 but holds an array");
  CHECK(tensor("[1,1,1,1,1,1,1]", "[0,4]", "1234") ==
        "tensor 'a': at most 6 axes are supported but the shape has more");
  CHECK(tensor("[9223372036854775808]", "[0,4]", "1234") == "tensor 'a': extent 9223372036854775808 is too large");
  CHECK(tensor("[18446744073709551616]", "[0,4]", "1234").ends_with("but holds '18446744073709551616'"));
  CHECK(tensor("[4294967296,4294967296]", "[0,0]") ==
        "tensor 'a': shape [4294967296, 4294967296] has more bytes than can be counted");
  CHECK(tensor("[4294967296,4294967296,0]", "[0,0]").ends_with("has more bytes than can be counted"));
  CHECK(tensor("[2]", "[0,4]", "1234") == "tensor 'a': f32 [2] needs 8 bytes but data_offsets [0, 4] hold 4");
  CHECK(tensor("[1]", "[4,0]", "1234") == "tensor 'a': data_offsets must not decrease but are [4, 0]");
  CHECK(tensor("[1]", "[0]", "1234") == "tensor 'a': data_offsets must have 2 numbers but has 1");
  CHECK(tensor("[1]", "[0,4,4]", "1234") == "tensor 'a': data_offsets must have 2 numbers but has 3");
  CHECK(tensor("[1]", "[18446744073709551612,18446744073709551616]").find("must hold numbers") != std::string::npos);
  CHECK(tensor("[1]", "[18446744073709551611,18446744073709551615]", "1234") ==
        "tensor 'a': data_offsets must begin at 0, where the one before ends, but begin at 18446744073709551611");
  CHECK(tensor("[1]", "[0,4]", "123") == "the tensors need 4 bytes after the header but the file holds 3");
  CHECK(tensor("[1]", "[0,4]", "12345") == "the tensors need 4 bytes after the header but the file holds 5");
  CHECK(tensor("[1]", "[2,6]", "123456") ==
        "tensor 'a': data_offsets must begin at 0, where the one before ends, but begin at 2");
  const auto two = [](const std::string& a, const std::string& b, const std::string& data) {
    const std::string head = R"(":{"dtype":"U8","shape":[2],"data_offsets":)";
    return refusal(with_header("{\"a" + head + a + "},\"b" + head + b + "}}", data));
  };
  CHECK(two("[2,4]", "[0,2]", "1234") == "accepted");
  CHECK(two("[0,2]", "[1,3]", "123") ==
        "tensor 'b': data_offsets must begin at 2, where the one before ends, but begin at 1");
  CHECK(two("[0,2]", "[0,2]", "12") ==
        "tensor 'b': data_offsets must begin at 2, where the one before ends, but begin at 0");
  CHECK(two("[0,2]", "[3,5]", "12345") ==
        "tensor 'b': data_offsets must begin at 2, where the one before ends, but begin at 3");
  CHECK(refusal(with_header(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\1\2", 2))) ==
        "tensor 'a': every bool must be 0 or 1 but one is not");
}

TEST_CASE("what is no file is refused") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(Safetensors(folder / "absent"),
                    ((folder / "absent").string() + ": cannot be opened: No such file or directory").c_str());
  CHECK_THROWS_WITH(Safetensors(folder.path()), (folder.path().string() + ": must be a regular file").c_str());
  put(folder / "x", with_header(four_floats, std::string(16, 'x')));
  CHECK_THROWS_WITH(Safetensors(folder / "x").tensor("b"),
                    ((folder / "x").string() + ": tensor 'b' is missing").c_str());
}

TEST_CASE("every dtype and zero-size tensors make the round trip, as views of the file") {
  const TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  uint64_t counter = 0;
  for (const DType dtype :
       {DType::u8, DType::f32, DType::boolean, DType::bf16, DType::f16, DType::f64, DType::i32, DType::i64}) {
    for (const Shape& shape : {Shape{}, Shape{3}, Shape{0}, Shape{2, 0, 5}, Shape{1, 2, 3, 2, 1, 3}}) {
      Tensor t = Tensor::empty(shape, dtype);
      auto* bytes = static_cast<unsigned char*>(t.raw());
      for (int64_t i = 0; i < t.nbytes(); ++i)
        bytes[i] = static_cast<unsigned char>(philox4x32(1, counter++)[0] & (dtype == DType::boolean ? 1 : 255));
      tensors.push_back({fmt::format("{} \"ünï\\{}", dtype, shape), t});
    }
  }
  const std::map<std::string, std::string> metadata{{"key", "line\nbreak"}, {"json", R"({"a": [1]})"}};
  write_safetensors(folder / "m", tensors, metadata);
  Tensor survivor;
  {
    const Safetensors file(folder / "m");
    CHECK(file.metadata() == metadata);
    CHECK(file.entries().size() == tensors.size());
    for (const NamedTensor& t : tensors) {
      const Tensor read = file.tensor(t.name);
      CHECK(read.dtype() == t.tensor.dtype());
      CHECK(read.shape() == t.tensor.shape());
      CHECK((t.tensor.nbytes() == 0 || std::memcmp(read.raw(), t.tensor.raw(), t.tensor.nbytes()) == 0));
      CHECK(read.storage()->owner);
    }
    survivor = file.tensor(tensors[4].name);
    // Writing over the file that is mapped: what was taken from it keeps its bytes.
    write_safetensors(folder / "m", {{"other", Tensor::zeros({1000})}});
  }
  CHECK(std::memcmp(survivor.raw(), tensors[4].tensor.raw(), survivor.nbytes()) == 0);
  CHECK(Safetensors(folder / "m").tensor("other").numel() == 1000);
}

TEST_CASE("a tensor that is not aligned in the file is copied") {
  const TemporaryFolder folder;
  const float value = 1.5f;
  std::string data(5, '\0');
  std::memcpy(data.data() + 1, &value, 4);
  std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  put(folder / "m", with_header(header, data));
  const Tensor b = Safetensors(folder / "m").tensor("b");
  CHECK(b.item() == 1.5);
  CHECK_FALSE(b.storage()->owner);
}

TEST_CASE("a caller's mistakes when writing") {
  const TemporaryFolder folder;
  const Tensor x = Tensor::zeros({1});
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "m", {{"a", x}, {"a", x}}),
                       "[write_safetensors] every name must occur once but 'a' occurs twice", std::invalid_argument);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "m", {{"__metadata__", x}}),
                       "[write_safetensors] every name must occur once but '__metadata__' is reserved",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "m", {{"\xff", x}}),
                       "[write_safetensors] names and metadata must be UTF-8", std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(folder / "m", {{"a", Tensor()}}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "no" / "m", {{"a", x}}),
                       ((folder / "no" / "m").string() + ": cannot be created: No such file or directory").c_str(),
                       std::runtime_error);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a write that fails half way leaves the old file and no temporary") {
  const TemporaryFolder folder;
  write_safetensors(folder / "m", {{"a", Tensor::full({4}, 1)}});
  const std::string before = get(folder / "m");
  const pid_t child = fork();
  if (child == 0) {
    // A limit on file sizes is a full disk that needs no privileges.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    int code = 1;
    try {
      write_safetensors(folder / "m", {{"a", Tensor::zeros({1'000'000})}});
    } catch (const std::runtime_error& e) {
      code = std::string(e.what()) == (folder / "m").string() + ": cannot be written: File too large" ? 0 : 2;
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(get(folder / "m") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("one writer at a time; a dropped file leaves nothing; a leftover is taken over") {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "m");
    file.write("half");
    CHECK_THROWS_WITH(AtomicFile(folder / "m"),
                      ((folder / "m").string() + ": another process is writing this file").c_str());
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  put(folder / ".m.tmp", "left by a crash, longer than what follows");
  write_file_atomically(folder / "m", "whole");
  CHECK(get(folder / "m") == "whole");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("mutated files are accepted or refused, never worse") {
  const TemporaryFolder folder;
  write_safetensors(folder / "m",
                    {{"weight", Tensor::zeros({3, 5})},
                     {"flags", Tensor::zeros({7}, DType::boolean)},
                     {"n", Tensor::zeros({}, DType::i64)}},
                    {{"format", "pt"}});
  const std::string good = get(folder / "m");
  int accepted = 0, refused = 0;
  Random random{11, 0};
  for (int trial = 0; trial < 3000; ++trial) {
    const PhiloxStream draw = random.reserve(16);
    std::string bytes = good;
    for (uint32_t edits = 0; edits <= draw.bits(0) % 3; ++edits) {
      const uint32_t kind = draw.bits(1 + 4 * edits) % 5, value = draw.bits(2 + 4 * edits);
      // Mostly in the header, where the structure is.
      const size_t at = draw.bits(3 + 4 * edits) %
                        std::max<size_t>(1, std::min<size_t>(bytes.size(), value % 4 ? 300 : bytes.size()));
      static const std::string tokens[] = {"{",  "}",       "[",    "]",          ",", "\"", "0", "9223372036854775807",
                                           "-1", "\"F64\"", "null", "\"weight\":"};
      if (bytes.empty()) break;
      if (kind == 0) bytes[at] = static_cast<char>(value);
      if (kind == 1) bytes.resize(at);
      if (kind == 2) bytes.insert(at, tokens[value % std::size(tokens)]);
      if (kind == 3) bytes.erase(at, 1 + value % 8);
      if (kind == 4) bytes[at] = "0123456789"[value % 10];
    }
    (refusal(bytes) == "accepted" ? accepted : refused)++;
  }
  CHECK(accepted > 0);
  CHECK(refused > 1000);
}
