// PyTorch's files: what torch wrote is read value by value, and every attack on the archive, the pickle and the tensors
// in it gets its own line.
#include "tensor/files/torch_file.h"

#include <doctest/doctest.h>

#include <cstring>

#include "tensor/files/tensor_file.h"
#include "tensor/philox.h"
#include "tests/archive_builder.h"
#include "tests/temporary_folder.h"

using namespace weft;
using namespace weft::archive;
namespace fs = std::filesystem;

namespace {

const fs::path goldens = fs::path(WEFT_TESTS) / "golden/torch_files";

// What opening a file of these bytes and loading every tensor says, without the file's name; or the tensors' names.
std::string outcome(const std::string& bytes) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("f", bytes);
  std::string names;
  try {
    const TensorFile file(path);
    for (const auto& e : file.entries()) {
      const Tensor loaded = file.load(e);
      CHECK(loaded.shape() == e.shape);
      names += " " + e.name;
    }
  } catch (const std::runtime_error& e) {
    const std::string text = e.what(), prefix = path.string() + ": ";
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.starts_with(prefix));
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "tensors" + names;
}

// The same of a pickle in an archive with these storages; "x/data.pkl: byte " is left out.
std::string pickled(const std::string& pickle, const std::vector<std::string>& storages = {}) {
  const std::string said = outcome(torch(protocol + pickle, storages)), prefix = "x/data.pkl: byte ";
  return said.starts_with(prefix) ? said.substr(prefix.size()) : said;
}

// A tensor of a storage of 4 floats.
std::string view(int32_t offset, const std::vector<int32_t>& shape, const std::vector<int32_t>& strides) {
  return pickled(tensor(storage("0", 4), integer(offset), numbers(shape), numbers(strides)) + ".", {std::string(16, '\0')});
}

// A file as before PyTorch 1.6 of a value's pickle and its storages, each with the count that it claims.
struct Stored {
  int64_t count;
  std::string bytes;
};
std::string legacy(const std::string& value, const std::vector<std::string>& keys, const std::vector<Stored>& storages,
                   const std::string& version = "M\xe9\x03", const std::string& machine_order = "\x88") {
  std::string file("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  file += protocol + version + "." + protocol + "}" + text("little_endian") + machine_order + "s." + protocol + value;
  file += protocol + "](";
  for (const std::string& key : keys) file += text(key);
  file += "e.";
  for (const Stored& s : storages) file += bytes_of(s.count) + s.bytes;
  return file;
}
// ('storage', type, key, location, count, view)
std::string old_storage(std::string_view key, int32_t count, const std::string& view = "N",
                        std::string_view type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count), view}) + "Q";
}
std::string old_tensor(const std::string& storage, int32_t offset, int32_t count) {
  return tensor(storage, integer(offset), numbers({count}), numbers({1}));
}

}  // namespace

TEST_CASE("every tensor that PyTorch and NumPy wrote has its values") {
  const Safetensors expected(goldens / "expected.safetensors");
  size_t compared = 0;
  for (const char* name : {"checkpoint.pt", "protocol.bin", "legacy.pt", "python2.pt", "old_layout.pt", "tensor.pt",
                           "scripted.pt", "array_c.npy", "array_fortran.npy", "array_half.npy", "arrays.npz"}) {
    CAPTURE(name);
    const TensorFile file(goldens / name);
    CHECK_FALSE(file.entries().empty());
    for (const auto& entry : file.entries()) {
      CAPTURE(entry.name);
      const Tensor found = file.load(entry), wanted = expected.tensor(std::string(name) + "/" + entry.name);
      CHECK(found.dtype() == entry.dtype);
      REQUIRE(found.shape() == wanted.shape());
      CHECK(found.to_doubles() == wanted.to_doubles());
      ++compared;
    }
  }
  CHECK(compared == expected.entries().size());
}

TEST_CASE("dtypes are the file's; aligned tensors in order are views, tensors of one storage share it") {
  const TensorFile file(goldens / "checkpoint.pt");
  CHECK(file.format() == "PyTorch");
  const TensorFile model = file.below("model_state_dict.");
  CHECK(model.entries().size() == 21);
  for (const auto& [name, dtype] : {std::pair{"half", DType::f16}, {"brain", DType::bf16}, {"double", DType::f64},
                                    {"ints", DType::i32}, {"longs", DType::i64}, {"bytes", DType::u8}, {"flags", DType::boolean}}) {
    CHECK(model.find(name)->dtype == dtype);
  }
  const Tensor whole = model.load("whole"), row = model.load("row");
  CHECK(whole.storage()->owner);
  CHECK(static_cast<char*>(row.raw()) - static_cast<char*>(whole.raw()) == 2 * 6 * 4);
  CHECK_FALSE(model.load("transposed").storage()->owner == whole.storage()->owner);
  CHECK_THROWS_WITH_AS(model.load("loss"), ((goldens / "checkpoint.pt").string() + ": tensor 'loss' is missing").c_str(),
                       std::runtime_error);
}

TEST_CASE("values that are no tensors can be looked up") {
  const TensorFile file(goldens / "checkpoint.pt");
  const Pickle& pickle = file.torch()->pickle();
  const PickleValue* labels = pickle.find(pickle.root(), "label_binarizer");
  REQUIRE(labels);
  const auto items = pickle.items(*labels);
  REQUIRE(items.size() == 6);
  CHECK(items[2].integer == 2);
  CHECK(pickle.items(items[3])[1].integer == 1);
  CHECK(pickle.find(pickle.root(), "big")->integer == int64_t{1} << 40);
  CHECK(pickle.find(pickle.root(), "negative")->integer == -3);
  CHECK(pickle.find(pickle.root(), "loss")->is(PickleValue::Kind::opaque));
  CHECK_FALSE(pickle.find(pickle.root(), "model"));
}

TEST_CASE("TorchScript is read through its objects") {
  const TensorFile file(goldens / "scripted.pt");
  CHECK(file.format() == "TorchScript");
  CHECK(file.find("blocks.0.linear.weight"));
  CHECK(file.find("blocks.2.weight")->dtype == DType::f16);
}

TEST_CASE("compressed arrays are refused by name") {
  CHECK_THROWS_WITH_AS(TensorFile(goldens / "compressed.npz"),
                       ((goldens / "compressed.npz").string() +
                        ": member 'c.npy': compressed arrays are not read: write them with numpy.savez").c_str(),
                       std::runtime_error);
}

TEST_CASE("the format of before 1.6 has the dtypes, values and shared storages that the archive has") {
  const TensorFile old(goldens / "legacy.pt"), archive(goldens / "checkpoint.pt");
  CHECK(old.format() == "PyTorch");
  REQUIRE(old.entries().size() == archive.entries().size());
  for (const auto& entry : archive.entries()) {
    CAPTURE(entry.name);
    REQUIRE(old.find(entry.name));
    CHECK(old.find(entry.name)->dtype == entry.dtype);
  }
  const Pickle& pickle = old.torch()->pickle();
  CHECK(pickle.find(pickle.root(), "big")->integer == int64_t{1} << 40);
}

TEST_CASE("attacks on the archive") {
  const std::string root = protocol + "}.";
  CHECK(outcome(torch(root)) == "tensors");
  CHECK(outcome(zip({{"x/data.pkl", root}}, true)) == "tensors");
  CHECK(outcome(zip({{"x/data.pkl", root, 0, 0, 0, true}})) == "tensors");
  CHECK(outcome(torch(root) + "x") == "the file must end with a zip directory but does not: it is cut short or damaged");
  CHECK(outcome("PK\3\4") == "the file must end with a zip directory but does not: it is cut short or damaged");
  CHECK(outcome(end_record(0, 0, 0)) == "a PyTorch file was expected but the zip archive has no data.pkl");
  CHECK(outcome(end_record(1, 0, 0)) == "a zip directory of 0 bytes cannot have 1 members");
  CHECK(outcome(end_record(0, 1, 0)) == "the zip directory of 1 bytes at 0 must end by 0 but does not");
  CHECK(outcome(end_record(0, ~0u, ~0u)) == "the zip directory of 4294967295 bytes at 4294967295 must end by 0 but does not");
  CHECK(outcome(zip({{"y/code.py", ""}})) == "a PyTorch file was expected but the zip archive has no data.pkl");
  CHECK(outcome(zip({{"a/b/data.pkl", root}})) == "a PyTorch file was expected but the zip archive has no data.pkl");
  CHECK(outcome(zip({{"a/data.pkl", root}, {"b/data.pkl", root}})) == "one data.pkl was expected but there are several");
  CHECK(outcome(zip({{"x/data.pkl", root, 0, 1}})) == "member 'x/data.pkl': must not be encrypted but is");
  CHECK(outcome(zip({{"x/data.pkl", root, 8}})) == "member 'x/data.pkl': must be stored but is compressed");
  CHECK(outcome(zip({{"x/data.pkl", root}, {"x/data.pkl", root}})) ==
        "member 'x/data.pkl': every name must occur once but it occurs twice");
  CHECK(outcome(zip({{"x/data.pkl", root}, {"x/other", root, 0, 0, 1}})) == "member 'x/other': its header must be at 45 but is not");
  CHECK(outcome(zip({{"x/data.pkl", root}, {"y/data.pkl", root, 0, 0, ~uint32_t{43}}})) ==
        "member 'y/data.pkl': the header at 0 must have the same name but has another");
  CHECK(outcome(zip({{"x/data.pkl", root}, {"x/data.pkl", root, 0, 0, ~uint32_t{43}}})) ==
        "offset 0: members must not overlap but two do");
  CHECK(outcome(zip({{"x/byteorder", "big"}, {"x/data.pkl", root}})) == "byteorder: \"little\" was expected but it is 'big'");

  // Sizes that the directory claims.
  std::string longer = torch(root);
  const size_t directory = longer.find("PK\1\2");
  for (const size_t at : {20, 24}) longer.replace(directory + at, 4, bytes_of<uint32_t>(1000));
  CHECK(outcome(longer) == "member 'x/data.pkl': its 1000 bytes at 40 must end before the directory at 44");
  std::string unequal = torch(root);
  unequal.replace(directory + 24, 4, bytes_of<uint32_t>(5));
  CHECK(outcome(unequal) == "member 'x/data.pkl': a stored member of 5 bytes cannot have 4 in the file");
  std::string narrow = torch(root);
  for (const size_t at : {20, 24, 42}) narrow.replace(directory + at, 4, bytes_of(~uint32_t{0}));
  CHECK(outcome(narrow) == "member 'x/data.pkl': a zip64 field was expected but is missing");
  std::string wide = zip({{"x/data.pkl", root, 0, 0, 0, true}});
  wide.replace(wide.find("PK\1\2") + 46 + 10 + 4 + 16, 8, bytes_of(~uint64_t{0}));
  CHECK(outcome(wide) == "member 'x/data.pkl': its header must be at 18446744073709551615 but is not");
}

TEST_CASE("attacks on the pickle: what is not on the list") {
  CHECK(outcome(torch("")) == "x/data.pkl: byte 0: 1 bytes were expected but 0 are left");
  CHECK(outcome(torch("}.")) == "x/data.pkl: byte 0: a pickle must begin with its protocol, once, but byte 0x7d is there");
  CHECK(outcome(torch("\x80\x04}.")) == "x/data.pkl: byte 0: pickle protocol 2, PyTorch's default, was expected but it is 4");
  CHECK(pickled("\x80\x02}.") == "2: a pickle must begin with its protocol, once, but byte 0x80 is there");
  CHECK(pickled(global("os", "system") + text("ls") + "\x85R.") ==
        "2: the name 'os system' is not one that a file of tensors needs: refused");
  for (const auto& [module, name] : {std::pair{"builtins", "eval"}, {"posix", "system"}, {"torch", "load"},
                                     {"torch._utils", "_rebuild_qtensor"}, {"collections", "OrderedDict.x"}, {"torch", ""}, {"", ""}}) {
    CHECK(pickled(global(module, name) + ".").ends_with("is not one that a file of tensors needs: refused"));
  }
  CHECK(pickled(global("__torch__.evil", "M") + ")\x81.") ==
        "2: the name '__torch__.evil M' is not one that a file of tensors needs: refused");
  CHECK(pickled(global("os\x1b[2J", "a")) == "2: the name 'os\\x1b[2J a' is not one that a file of tensors needs: refused");
  // INST, OBJ, EXT1, NEWOBJ_EX, STACK_GLOBAL, MEMOIZE, FRAME, INT, PERSID, POP, DUP, BINBYTES, LONG, BINSTRING, SHORT_BINSTRING.
  for (const char op : std::string("io\x82\x92\x93\x94\x95IPV02BTU" "L")) {
    CHECK(pickled(std::string(1, op) + ".").ends_with("is not one that a file of tensors needs: refused"));
  }
  CHECK(pickled("cos") == "2: a name that ends with a line break was expected");
}

TEST_CASE("attacks on the pickle: the stack's types") {
  CHECK(pickled(".") == "2: one value must be left at the end but there are 0");
  CHECK(pickled("NN.") == "4: one value must be left at the end but there are 2");
  CHECK(pickled("(N.") == "4: one value must be left at the end but there are 1");
  CHECK(pickled("N.N") == "3: nothing may follow the end but 1 bytes do");
  CHECK(pickled("N") == "3: 1 bytes were expected but 0 are left");
  // CVE-2026-24747: SETITEM(S) on what is no dict.
  CHECK(pickled("]NNs.") == "5: what takes keys and values must be a dict but is a list");
  CHECK(pickled("](NNu.") == "6: what takes keys and values must be a dict but is a list");
  CHECK(pickled(storage("0", 4) + "NNs.", {std::string(16, 0)}).ends_with("must be a dict but is a storage"));
  CHECK(pickled("}(Nu.") == "5: keys and values by turns were expected but there are 1");
  CHECK(pickled("}}Ns.") == "5: a key must be a plain value but is a dict");
  CHECK(pickled("}Na.") == "4: what takes items must be a list but is a dict");
  CHECK(pickled("}(e.") == "4: what takes items must be a list but is a dict");
  CHECK(pickled("a.") == "2: a value was expected but the stack has none");
  CHECK(pickled("(a.") == "3: a value was expected but the stack has none");
  CHECK(pickled("e.") == "2: a mark was expected but there is none");
  CHECK(pickled("]N(\x86.") == "5: a value was expected but the stack has none");
  CHECK(pickled("N)R.") == "4: what is called must be a global name but is None");
  CHECK(pickled(global("collections", "OrderedDict") + "NR.").ends_with("a call's arguments must be a tuple but is None"));
  CHECK(pickled(global("collections", "OrderedDict") + "]\x85R.").ends_with("an OrderedDict must begin empty but has 1 arguments"));
  CHECK(pickled(global("torch", "FloatStorage") + ")R.").ends_with("torch FloatStorage must not be called"));
  CHECK(pickled(global("collections", "OrderedDict") + ")\x81.").ends_with("an object must be of a TorchScript class and begin empty"));
  CHECK(pickled("NNb.") == "4: None cannot have a state");
  CHECK(pickled("h\x01.") == "2: memo 1 was expected but there are 0");
  CHECK(pickled("Nq\x01.") == "3: memo 1 must follow on the 0 before it");
  CHECK(pickled("Nr\xff\xff\xff\xff.") == "3: memo 4294967295 must follow on the 0 before it");
  CHECK(pickled("X\xff\xff\xff\xffx.") == "2: 4294967295 bytes were expected but 2 are left");
  CHECK(pickled("\x8a\x09" "123456789.") == "2: a whole number must have at most 8 bytes but has 9");
  CHECK(pickled("NQ.") == "3: a persistent id must be a tuple but is None");
  CHECK(pickled(")Q.") == "3: a persistent id must name a storage, its type, key, place and count but does not");
  CHECK(pickled(global("torch._utils", "_rebuild_parameter") + "N\x85R.").ends_with("a parameter must be made of a tensor"));
  CHECK(pickled(tensor("N", integer(0), ")", ")") + ".").ends_with("a tensor must have a storage, an offset, a shape and strides but has not"));
  CHECK(pickled(global("torch", "ShortStorage") + ".") ==
        "2: the name 'torch ShortStorage' is not one that a file of tensors needs: refused");
}

TEST_CASE("attacks on storages and strides") {
  CHECK(view(0, {2, 2}, {2, 1}) == "tensors tensor");
  CHECK(view(0, {2, 2}, {1, 2}) == "tensors tensor");
  CHECK(view(3, {}, {}) == "tensors tensor");
  CHECK(view(4, {0}, {1}) == "tensors tensor");
  CHECK(view(4, {}, {}).starts_with("x/data.pkl: a tensor of shape [], strides [] and offset 4 must lie in its storage '0' of 4 elements"));
  CHECK(view(1, {2, 2}, {2, 1}).ends_with("must lie in its storage '0' of 4 elements but does not"));
  CHECK(view(0, {2, 2}, {3, 1}).ends_with("must lie in its storage '0' of 4 elements but does not"));
  CHECK(view(0, {2}, {2147483647}).ends_with("must lie in its storage '0' of 4 elements but does not"));
  // A stride of zero repeats elements: 4 GB out of 16 bytes.
  CHECK(view(0, {1000000, 1000}, {0, 0}).ends_with("must lie in its storage '0' of 4 elements but does not"));
  CHECK(view(-1, {1}, {1}).ends_with("a tensor's offset must be at least 0 but is -1"));
  CHECK(view(0, {-1}, {1}).ends_with("a tensor's shape must hold numbers of at least 0"));
  CHECK(view(0, {1}, {-1}).ends_with("a tensor's strides must hold numbers of at least 0"));
  CHECK(view(0, {1, 1}, {1}).ends_with("a tensor of 2 axes must have as many strides but has 1"));
  CHECK(view(0, {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}).ends_with("a tensor may have at most 6 axes but has 7"));
  CHECK(view(0, {2147483647, 2147483647, 2147483647}, {1, 1, 1}) ==
        "x/data.pkl: shape [2147483647, 2147483647, 2147483647] has more bytes than can be counted");

  const std::string one = tensor(storage("0", 4), integer(0), numbers({4}), numbers({1})) + ".";
  CHECK(pickled(one) == "member 'x/data/0' is missing");
  CHECK(pickled(one, {std::string(12, 0)}) == "member 'x/data/0': 4 elements of f32 were announced but it has 12 bytes");
  CHECK(pickled(one, {std::string(17, 0)}) == "member 'x/data/0': 4 elements of f32 were announced but it has 17 bytes");
  CHECK(pickled(storage("0", -4) + ".").ends_with("a persistent id must name a storage, its type, key, place and count but does not"));
  CHECK(pickled(storage("../data.pkl", 4) + ".") == "member 'x/data/../data.pkl' is missing");
  CHECK(pickled(storage(std::string(300, 'k'), 4) + ".").ends_with("a key of at most 256 bytes was expected"));
  const std::string flag = tensor(storage("0", 1, "BoolStorage"), integer(0), ")", ")") + ".";
  CHECK(pickled(flag, {"\2"}) == "tensor 'tensor': every bool must be 0 or 1 but one is not");
}

TEST_CASE("attacks on the format of before 1.6") {
  const std::string four(16, 0), one = old_tensor(old_storage("k", 4), 0, 4) + ".";
  const std::string good = legacy(one, {"k"}, {{4, four}});
  CHECK(outcome(good) == "tensors tensor");
  CHECK(outcome(legacy("}.", {}, {})) == "tensors");

  // Its first three pickles.
  CHECK(
      outcome("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x18." + good.substr(15))
          .starts_with("a safetensors, PyTorch (.pt, .pth, .bin), .npy or .npz file was expected but it begins with "));
  CHECK(outcome(good.substr(0, 15)) == "byte 15: 1 bytes were expected but 0 are left");
  CHECK(outcome(legacy(one, {"k"}, {{4, four}}, "M\xea\x03")) ==
        "byte 15: PyTorch's protocol 1001 was expected but another is there");
  CHECK(outcome(legacy(one, {"k"}, {{4, four}}, text("1001"))) ==
        "byte 15: PyTorch's protocol 1001 was expected but another is there");
  const std::string order = "byte 21: numbers of a little-endian machine were expected but it does not say so";
  CHECK(outcome(legacy(one, {"k"}, {{4, four}}, "M\xe9\x03", "\x89")) == order);
  CHECK(outcome(legacy(one, {"k"}, {{4, four}}, "M\xe9\x03", "N")) == order);
  CHECK(outcome(legacy(global("os", "system") + text("ls") + "\x85R.", {}, {})) ==
        "byte 47: the name 'os system' is not one that a file of tensors needs: refused");

  // Cut anywhere, it is refused.
  for (size_t size = 15; size < good.size(); ++size) CHECK_FALSE(outcome(good.substr(0, size)).starts_with("tensors"));
  CHECK(outcome(good.substr(0, good.size() - 1))
            .ends_with("storage 'k': 4 elements of f32 were expected but 15 bytes are left"));
  CHECK(outcome(good.substr(0, good.size() - 17))
            .ends_with("the count of storage 'k' was expected but 7 bytes are left"));
  CHECK(outcome(good + "x").ends_with("nothing may follow the last storage but 1 bytes do"));

  // Counts.
  CHECK(outcome(legacy(one, {"k"}, {{3, four}})).ends_with("storage 'k': 4 elements were announced but it has 3"));
  CHECK(outcome(legacy(one, {"k"}, {{-1, four}})).ends_with("storage 'k': 4 elements were announced but it has -1"));
  CHECK(outcome(legacy(one, {"k"}, {{int64_t{1} << 62, four}}))
            .ends_with("4 elements were announced but it has 4611686018427387904"));
  const std::string huge = std::string("\x8a\x08") + bytes_of(int64_t{1} << 62);
  const std::string claims =
      tuple({text("storage"), global("torch", "FloatStorage"), text("k"), text("cpu"), huge, "N"}) + "Q";
  CHECK(outcome(legacy(old_tensor(claims, 0, 4) + ".", {"k"}, {{int64_t{1} << 62, four}}))
            .ends_with("storage 'k': 4611686018427387904 elements of f32 were expected but 16 bytes are left"));
  CHECK(outcome(legacy(old_tensor(old_storage("k", -4), 0, 4) + ".", {"k"}, {{-4, four}}))
            .ends_with("a persistent id must name a storage, its type, key, place and count but does not"));
  CHECK(outcome(legacy(old_tensor(old_storage("k", 4), 1, 4) + ".", {"k"}, {{4, four}}))
            .ends_with("must lie in its storage 'k' of 4 elements but does not"));

  // Keys.
  CHECK(outcome(legacy(one, {}, {})) == "storage 'k': the list of keys must have it but has not");
  CHECK(outcome(legacy(one, {"k", "k"}, {{4, four}, {4, four}})) ==
        "storage 'k': every key must be listed once but it is twice");
  CHECK(outcome(legacy(one, {"k", "m"}, {{4, four}, {4, four}})) == "storage 'm': the value must name it but does not");
  const auto two = [&](const std::string& second) {
    return "(" + old_tensor(old_storage("k", 4), 0, 4) + second + "t.";
  };
  CHECK(outcome(legacy(two(old_tensor(old_storage("k", 4), 0, 2)), {"k"}, {{4, four}})) == "tensors 0 1");
  CHECK(outcome(legacy(two(old_tensor(old_storage("k", 5), 0, 2)), {"k"}, {{4, four}})) ==
        "storage 'k': 4 elements of f32 were announced, and then 5 of f32");
  CHECK(outcome(legacy(two(old_tensor(old_storage("k", 4, "N", "IntStorage"), 0, 2)), {"k"}, {{4, four}})) ==
        "storage 'k': 4 elements of f32 were announced, and then 4 of i32");
  std::string listed = good;
  listed.replace(listed.rfind("](" + text("k") + "e."), 10, std::string("](Ne.}").substr(0, 5));
  CHECK(outcome(listed).find("a list of keys was expected but one is None") != std::string::npos);

  // Views of a storage.
  const auto view = [&](int32_t begin, int32_t count, int32_t offset, int32_t elements) {
    const std::string id = old_storage("k", 4, tuple({text("v"), integer(begin), integer(count)}));
    return outcome(legacy(old_tensor(id, offset, elements) + ".", {"k"}, {{4, four}}));
  };
  CHECK(view(1, 3, 1, 2) == "tensors tensor");
  CHECK(view(1, 3, 1, 3).ends_with("must lie in its storage 'k' of 3 elements but does not"));
  CHECK(view(1, 4, 0, 1).ends_with("a view of 4 elements from 1 on must lie in its storage of 4 but does not"));
  CHECK(view(-1, 4, 0, 1).ends_with("a view of 4 elements from -1 on must lie in its storage of 4 but does not"));
  CHECK(view(1, -1, 0, 1).ends_with("a view of -1 elements from 1 on must lie in its storage of 4 but does not"));
  CHECK(outcome(legacy(old_tensor(old_storage("k", 4, "]"), 0, 4) + ".", {"k"}, {{4, four}}))
            .ends_with("a storage's view must have a key, a first element and a count but has not"));

  // What only such files may have; and what changes elements where it should say whether they need a gradient.
  CHECK(pickled("U\1x.") == "2: instruction 0x55 is not one that a file of tensors needs: refused");
  CHECK(pickled(old_storage("k", 4) + ".")
            .ends_with("a persistent id must name a storage, its type, key, place and count but does not"));
  CHECK(outcome(legacy(storage("k", 4) + ".", {}, {}))
            .ends_with("a persistent id must name a storage, its type, key, place and count but does not"));
  const std::string t = old_tensor(old_storage("k", 4), 0, 4);
  CHECK(outcome(legacy(t + tuple({"\x88", "\x89", "}"}) + "b.", {"k"}, {{4, four}})) == "tensors tensor");
  CHECK(outcome(
            legacy(t + tuple({old_storage("k", 4), integer(0), numbers({4}), numbers({0})}) + "b.", {"k"}, {{4, four}}))
            .ends_with("a tensor cannot have a state"));
  CHECK(pickled(tensor(storage("0", 4), integer(0), numbers({4}), numbers({1})) + tuple({"\x88", "\x89", "}"}) + "b.",
                {four})
            .ends_with("a tensor cannot have a state"));
  const std::string ordered = global("collections", "OrderedDict");
  CHECK(outcome(legacy(ordered + "](](" + text("a") + t + "ee\x85R.", {"k"}, {{4, four}})) == "tensors a");
  CHECK(outcome(legacy(ordered + "](](" + text("a") + "ee\x85R.", {}, {}))
            .ends_with("an OrderedDict must have pairs of a key and a value"));
  CHECK(
      outcome(legacy(ordered + "](Ne\x85R.", {}, {})).ends_with("an OrderedDict must have pairs of a key and a value"));
  CHECK(outcome(legacy(std::string(2'000'000, 'N') + ".", {}, {}))
            .ends_with("at most 1048576 values may lie on the stack"));
}

TEST_CASE("attacks on names, depth and memory") {
  const std::string t = tensor(storage("0", 1), integer(0), ")", ")");
  const std::vector<std::string> four{std::string(4, 0)};
  CHECK(pickled("}(" + text("a") + t + integer(5) + t + "Nh\x01N" "u.", four).ends_with("memo 1 was expected but there are 0"));
  CHECK(pickled("}(" + text("a") + t + integer(-5) + t + "u.", four) == "tensors a -5");
  CHECK(pickled("}(" + text("a") + t + text("a") + t + "u.", four) == "tensor 'a': every name must occur once but it occurs twice");
  CHECK(pickled("}(" + text(std::string(5000, 'n')) + t + "u.", four).ends_with("a name of at most 4096 bytes was expected"));
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "](";
  CHECK(pickled(deep + t + std::string(100, 'e') + ".", four).ends_with("at most 64 levels were expected"));
  // A list that holds itself, twice.
  CHECK(pickled("]q" + std::string(1, '\0') + "(h" + std::string(1, '\0') + "h" + std::string(1, '\0') + "e.")
            .ends_with("at most 64 levels were expected"));
  // 2^40 paths through 40 shared lists.
  std::string laughs = "]q" + std::string(1, '\0');
  for (int i = 0; i < 40; ++i) {
    laughs += "](h" + bytes_of(static_cast<uint8_t>(i)) + "h" + bytes_of(static_cast<uint8_t>(i)) + "eq" + bytes_of(static_cast<uint8_t>(i + 1));
  }
  CHECK(pickled("(" + laughs + "t.").ends_with("the file's values must not be shared this often"));
  // A byte of pickle, 64 of memory: more than the file's size allows.
  CHECK(pickled("(" + std::string(1'000'000, '}') + "t.").ends_with("the values must need no more memory than the file's size allows but do"));
  CHECK(pickled(std::string(2'000'000, 'N') + ".").ends_with("at most 1048576 values may lie on the stack"));
  CHECK(pickled(std::string(2'000'000, '(') + ".").ends_with("at most 1048576 marks may be open"));
}
