// NumPy's arrays: every broken header gets its own line. What NumPy itself wrote is read in torch_file_test.
#include "tensor/files/npy.h"

#include <doctest/doctest.h>

#include "tensor/files/tensor_file.h"
#include "tests/archive_builder.h"
#include "tests/temporary_folder.h"

using namespace weft;
using namespace weft::archive;

namespace {

// A version 1 file of this header and these bytes.
std::string npy(const std::string& header, const std::string& data = "", char version = 1) {
  const std::string length = version == 1 ? bytes_of(static_cast<uint16_t>(header.size()))
                                          : bytes_of(static_cast<uint32_t>(header.size()));
  return std::string("\x93NUMPY") + version + '\0' + length + header + data;
}

std::string outcome(const std::string& bytes) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.npy", bytes);
  try {
    const TensorFile file(path);
    const Tensor t = file.load("a");
    return fmt::format("{} {} {}", t.dtype(), t.shape(), fmt::join(t.to_doubles(), " "));
  } catch (const std::runtime_error& e) {
    const std::string text = e.what(), prefix = path.string() + ": ";
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.starts_with(prefix));
    return text.substr(std::min(prefix.size(), text.size()));
  }
}

std::string described(const std::string& descr, const std::string& shape, const std::string& data, bool fortran = false) {
  return outcome(npy("{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }\n",
                     data));
}

}  // namespace

TEST_CASE("arrays of every dtype, order and layout of the header") {
  CHECK(described("<i4", "(2,)", bytes_of(7) + bytes_of(-7)) == "i32 [2] 7 -7");
  CHECK(described("|u1", "()", "\xff") == "u8 [] 255");
  CHECK(described("|b1", "(2, 1)", std::string("\1\0", 2)) == "bool [2, 1] 1 0");
  CHECK(described("<f4", "(0, 3)", "") == "f32 [0, 3] ");
  CHECK(described("|u1", "(2, 3)", "\1\4\2\5\3\6", true) == "u8 [2, 3] 1 2 3 4 5 6");
  CHECK(described("|u1", "(4L,)", "abcd") == "u8 [4] 97 98 99 100");
  CHECK(outcome(npy("{\"shape\":(1,),\"descr\":\"|u1\",\"fortran_order\":False}", "a", 3)) == "u8 [1] 97");
}

TEST_CASE("what is written is what NumPy writes, and is read back") {
  CHECK(npy_header(DType::f32, {2, 3, 4}) ==
        std::string("\x93NUMPY\1\0v\0", 10) + "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4), }" + std::string(55, ' ') + "\n");
  CHECK(npy_header(DType::i64, {7}).find("'shape': (7,), }") != std::string::npos);
  CHECK(npy_header(DType::boolean, {}).find("'descr': '|b1', 'fortran_order': False, 'shape': (), }") != std::string::npos);
  CHECK_THROWS_AS(npy_header(DType::bf16, {1}), std::invalid_argument);
  const TemporaryFolder folder;
  const Tensor t = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, -6.5f}, {3, 2});
  write_npy(folder / "a.npy", t);
  const TensorFile file(folder / "a.npy");
  CHECK(file.load("a").shape() == t.shape());
  CHECK(file.load("a").to_doubles() == t.to_doubles());
}

TEST_CASE("attacks on the header") {
  CHECK(outcome("\x93NUMPY") == "offset 0: a NumPy array was expected");
  CHECK(outcome(npy("", "", 4)) == "offset 6: version 1, 2 or 3 was expected but it is 4");
  CHECK(outcome(std::string("\x93NUMPY\2\0\0\0", 10)) == "offset 8: the header's length was expected but the file ends");
  CHECK(outcome(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12)) == "offset 8: the header claims 4294967295 bytes but 0 follow");
  CHECK(outcome(npy("")) == "header: '{' was expected but found ''");
  CHECK(outcome(npy("{")) == "header: a text was expected but found ''");
  CHECK(outcome(npy("{}")) == "the header must have descr, fortran_order and shape but lacks one");
  CHECK(outcome(npy("{'descr")) == "header: a text was expected but found ''descr'");
  CHECK(outcome(npy("{'x': 1}")) == "the header's keys must be descr, fortran_order and shape, each once, but one is 'x'");
  CHECK(outcome(npy("{'descr': '<f4', 'descr': '<f4'}")) ==
        "the header's keys must be descr, fortran_order and shape, each once, but one is 'descr'");
  CHECK(outcome(npy("{'descr': [('a', '<f4')]}")) == "header: a text was expected but found '[('a', '<f4')]}'");
  CHECK(outcome(npy("{'fortran_order': 1}")) == "header: True or False was expected but found '1}'");
  CHECK(outcome(npy("{'shape': (-1,)}")) == "header: an extent was expected but found '-1,)}'");
  CHECK(outcome(npy("{'shape': (99999999999999999999,)}")) == "header: an extent was expected but found '99999999999999999999'");
  CHECK(outcome(npy("{'shape': (1 2)}")) == "header: ',' or ')' was expected but found '2)}'");
  CHECK(outcome(npy("{'shape': (1,) 'descr': 'x'}")) == "header: ',' or '}' was expected but found ''descr': 'x'}'");
  CHECK(described(">f4", "(1,)", "abcd") == "descr must be one of <f4 <f2 <f8 <i4 <i8 |u1 |b1 (little endian) but is '>f4'");
  CHECK(described("|O", "(1,)", "abcd") == "descr must be one of <f4 <f2 <f8 <i4 <i8 |u1 |b1 (little endian) but is '|O'");
  CHECK(described("<f4", "(2,)", "abcd") == "f32 [2] needs 8 bytes but 4 follow the header");
  CHECK(described("<f4", "(1,)", "abcde") == "f32 [1] needs 4 bytes but 5 follow the header");
  CHECK(described("<f4", "(0, 9223372036854775807, 9)", "") == "shape [0, 9223372036854775807, 9] has more bytes than can be counted");
  CHECK(described("<f4", "(1,1,1,1,1,1,1)", "abcd") == "at most 6 axes are supported but the shape has more");
  CHECK(described("|b1", "(1,)", "\2") == "array 'a': every bool must be 0 or 1 but one is not");
  CHECK(outcome(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} x", "a")) == "header: its end was expected but found 'x'");
}

TEST_CASE("members of an .npz") {
  const TemporaryFolder folder;
  const std::string one = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", "a");
  const TensorFile file(folder.write("a.npz", zip({{"x.npy", one}, {"y/z.npy", one}})));
  CHECK(file.format() == "npz");
  CHECK(file.load("y/z").item() == 97);
  const auto broken = folder.write("b.npz", zip({{"x.npy", one.substr(0, one.size() - 1)}}));
  CHECK_THROWS_WITH_AS(TensorFile{broken}, (broken.string() + ": member 'x.npy': u8 [1] needs 1 bytes but 0 follow the header").c_str(),
                       std::runtime_error);
}
