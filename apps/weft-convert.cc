// weft-convert: pretrained weights as their authors publish them to weft model folders; and what is in such files.
#include <fcntl.h>
#include <unistd.h>

#include <iostream>

#include "apps/conversion.h"
#include "apps/program.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"
#include "tensor/memory.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr const char* tokenizer_files[] = {"spiece.model", "sentencepiece.bpe.model", "vocab.json",
                                           "merges.txt",   "bpe_simple_vocab_16e6.txt.gz"};

struct Options {
  std::string source, folder, check_file, list_file, dtype;
  double tolerance = 0;
  ConversionOptions conversion;
};

void list(const std::string& path, bool json) {
  const TensorFile file{fs::path(path)};
  int64_t elements = 0, bytes = 0;
  nlohmann::json tensors = nlohmann::json::array();
  std::string text;
  for (const TensorFile::Entry& e : file.entries()) {
    elements += e.shape.numel();
    bytes += e.shape.numel() * size_of(e.dtype);
    if (json) {
      tensors.push_back({{"name", e.name}, {"dtype", name_of(e.dtype)}, {"shape", std::vector<int64_t>(e.shape.begin(), e.shape.end())}});
    } else {
      text += fmt::format("{:5} {:24} {}\n", name_of(e.dtype), fmt::format("{}", e.shape), e.name);
    }
  }
  if (json) {
    std::cout << nlohmann::json{{"file", file.path().string()}, {"format", file.format()}, {"tensors", tensors}}.dump(
                     -1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    return;
  }
  std::cout << text << fmt::format("{}: {}, {} tensors, {} elements, {} bytes\n", file.path().string(), file.format(),
                                   file.entries().size(), elements, bytes);
}

// Numbers between dots stand for all of them, so that a table has a line a kind of tensor.
std::string pattern_of(const std::string& name) {
  std::string pattern;
  for (size_t i = 0; i < name.size();) {
    const size_t end = std::min(name.find('.', i), name.size());
    const std::string part = name.substr(i, end - i);
    pattern += !part.empty() && part.find_first_not_of("0123456789") == std::string::npos ? "*" : part;
    if (end < name.size()) pattern += '.';
    i = end + 1;
  }
  return pattern;
}

// Lines that are the same but for their numbers become one with their count.
std::vector<std::pair<std::string, int64_t>> grouped(const std::vector<std::string>& lines) {
  std::vector<std::pair<std::string, int64_t>> groups;
  std::unordered_map<std::string, size_t> places;
  for (const std::string& line : lines) {
    const auto [place, fresh] = places.emplace(line, groups.size());
    if (fresh) groups.emplace_back(line, 0);
    ++groups[place->second].second;
  }
  return groups;
}

void print_table(const TensorFile& file, const Conversion& c) {
  fmt::print("{}: {}, {} tensors: {}\n", file.path().string(), file.format(), file.entries().size(), c.model);
  std::vector<std::string> mapped, left;
  for (const ConvertedTensor& t : c.tensors) {
    const std::string to = pattern_of(t.name), from = pattern_of(t.source);
    mapped.push_back(fmt::format("{:5} {:20} {}{}", name_of(t.dtype), fmt::format("{}", t.shape), to, to == from ? "" : " <- " + from));
  }
  for (const auto& l : c.left_out) {
    // What is left out as a whole is named by its first part and the reason.
    const std::string first = l.name.substr(0, l.name.find('.'));
    left.push_back(fmt::format("{}: {}", first == l.name ? l.name : first + ".*", l.why));
  }
  fmt::print("mapped: {}\n", c.tensors.size());
  for (const auto& [line, count] : grouped(mapped)) fmt::print("{:5} x {}\n", count, line);
  fmt::print("left out: {}\n", c.left_out.size());
  for (const auto& [line, count] : grouped(left)) fmt::print("{:5} x {}\n", count, line);
  for (const std::string& note : c.notes) fmt::print("note: {}\n", note);
}

Tensor in_dtype(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const Tensor y = Tensor::empty(x.shape(), dtype);
  y.copy_from(x);
  return y;
}

// --dtype holds for floating tensors; bf16 for matrices and kernels only, since norms and statistics are read in f32.
DType written_dtype(const ConvertedTensor& t, const std::string& wanted) {
  if (wanted.empty() || !is_floating(t.dtype)) return t.dtype;
  return wanted == "bf16" && t.shape.rank() < 2 ? DType::f32 : dtype_from_name(wanted);
}

void write_weights(const TensorFile& file, const Conversion& c, const fs::path& path, const std::string& wanted) {
  std::vector<TensorToWrite> list;
  const ConvertedTensor* before = nullptr;
  for (const ConvertedTensor& t : c.tensors) {
    const DType dtype = written_dtype(t, wanted);
    // The pages of the tensor before are given back first: it may have been a view of them.
    list.push_back({t.name, dtype, t.shape, [&file, &t, &before, dtype] {
                      if (before) {
                        for (const TensorFile::Entry& e : before->used) file.forget(e);
                      }
                      before = &t;
                      return in_dtype(t.make(), dtype);
                    }});
  }
  write_safetensors(path, list, {{"format", "pt"}});
}

void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = descriptor >= 0 && fsync(descriptor) == 0;
  if (descriptor >= 0) close(descriptor);
  check_input(done, "{}: cannot be made durable", folder.string());
}

// A folder that gets its name when it is whole; until then it is removed if anything goes wrong.
class AtomicFolder {
 public:
  explicit AtomicFolder(const fs::path& folder) : folder_(folder) {
    if (folder_.filename().empty()) folder_ = folder_.parent_path();
    check_input(!fs::exists(folder_) || (fs::is_directory(folder_) && fs::is_empty(folder_)), "{}: exists already: name a new folder",
                folder_.string());
    const fs::path parent = folder_.has_parent_path() ? folder_.parent_path() : ".";
    fs::create_directories(parent);
    std::string pattern = (parent / ("." + folder_.filename().string() + ".XXXXXX")).string();
    check_input(mkdtemp(pattern.data()) != nullptr, "{}: no folder can be made there", parent.string());
    temporary_ = pattern;
    fs::permissions(temporary_, fs::perms(0755));
  }
  ~AtomicFolder() {
    std::error_code error;
    if (!temporary_.empty()) fs::remove_all(temporary_, error);
  }
  AtomicFolder(const AtomicFolder&) = delete;
  const fs::path& path() const { return temporary_; }
  void commit() {
    sync_folder(temporary_);
    std::error_code error;
    fs::rename(temporary_, folder_, error);
    check_input(!error, "{}: cannot be made: {}", folder_.string(), error.message());
    temporary_.clear();
    sync_folder(folder_.has_parent_path() ? folder_.parent_path() : ".");
  }

 private:
  fs::path folder_, temporary_;
};

void copy_durably(const fs::path& from, const fs::path& to) {
  std::ifstream in(from, std::ios::binary);
  check_input(in.is_open(), "{}: cannot be read", from.string());
  AtomicFile out(to);
  std::vector<char> block(1 << 20);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    out.write(block.data(), static_cast<size_t>(in.gcount()));
  }
  check_input(in.eof(), "{}: cannot be read", from.string());
  out.commit();
}

void write_folder(const TensorFile& file, const Conversion& c, const Options& o) {
  AtomicFolder folder(o.folder);
  write_weights(file, c, folder.path() / "model.safetensors", o.dtype);
  write_json_file(folder.path() / "config.json", c.config);
  std::vector<std::string> copied;
  for (const char* name : tokenizer_files) {
    const fs::path beside = file.path().parent_path() / name;
    if (!fs::is_regular_file(beside)) continue;
    copy_durably(beside, folder.path() / name);
    copied.push_back(name);
  }
  const fs::path text = o.conversion.text_encoder;
  if (!text.empty()) {
    fs::create_directory(folder.path() / "text_encoder");
    for (const char* name : {"config.json", "model.safetensors"}) copy_durably(text / name, folder.path() / "text_encoder" / name);
    if (copied.empty() && fs::exists(text / "spiece.model")) {
      copy_durably(text / "spiece.model", folder.path() / "spiece.model");
      copied.push_back("spiece.model");
    }
    sync_folder(folder.path() / "text_encoder");
  }
  // The tensors have the model's names now, and the file that the user knows is the source.
  c.verify(Safetensors(folder.path() / "model.safetensors", file.path().string() + ", converted"));
  folder.commit();
  fmt::print("written: {}: config.json, model.safetensors{}{}; the model can be built from it\n", o.folder, text.empty() ? "" : ", text_encoder/",
             copied.empty() ? " (no tokenizer beside the source)" : fmt::format(", {}", fmt::join(copied, ", ")));
}

struct Difference {
  double largest = 0, at = 0, relative = 0;  // of absolute differences; the first file's value there
  bool comparable = true;                    // no NaN on either side
};

// In pieces, so that the largest tensor is never in memory as doubles.
Difference difference(const Tensor& a, const Tensor& b) {
  Difference d;
  double scale = 0;
  const Tensor x = a.reshape({-1}), y = b.reshape({-1});
  constexpr int64_t piece = 1 << 16;
  for (int64_t i = 0; i < x.numel(); i += piece) {
    const int64_t end = std::min(x.numel(), i + piece);
    const std::vector<double> p = x.leading(i, end).to_doubles(), q = y.leading(i, end).to_doubles();
    for (size_t k = 0; k < p.size(); ++k) {
      scale = std::max(scale, std::abs(p[k]));
      const double apart = p[k] == q[k] ? 0 : std::abs(p[k] - q[k]);
      d.comparable &= apart == apart;
      if (apart > d.largest) {
        d.largest = apart;
        d.at = p[k];
      }
    }
  }
  d.relative = d.largest > 0 ? d.largest / (scale > 0 ? scale : 1) : 0;
  return d;
}

// The tensors of a file under the names of the model if one is recognised, under its own otherwise.
std::vector<ConvertedTensor> named_tensors(const TensorFile& file, const ConversionOptions& options, bool as_model) {
  if (as_model) return plan_conversion(file, options).tensors;
  std::vector<ConvertedTensor> list;
  for (const TensorFile::Entry& e : file.entries()) list.push_back({e.name, e.name, e.dtype, e.shape, [&file, e] { return file.load(e); }, {e}});
  return list;
}

bool is_known(const TensorFile& file, const ConversionOptions& options) {
  try {
    plan_conversion(file, options);
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

void compare(const TensorFile& first, const Options& o) {
  const TensorFile second{fs::path(o.check_file)};
  ConversionOptions theirs = o.conversion;
  theirs.source = o.check_file;
  const bool as_model = is_known(first, o.conversion) && is_known(second, theirs);
  const std::vector<ConvertedTensor> a = named_tensors(first, o.conversion, as_model), b = named_tensors(second, theirs, as_model);
  std::unordered_map<std::string, const ConvertedTensor*> others;
  for (const ConvertedTensor& t : b) others.emplace(t.name, &t);
  int64_t equal = 0, close = 0, different = 0;
  for (const ConvertedTensor& t : a) {
    const auto found = others.find(t.name);
    if (found == others.end()) {
      fmt::print("{}: only in {}\n", t.name, first.path().string());
      ++different;
      continue;
    }
    const ConvertedTensor& other = *found->second;
    others.erase(found);
    if (t.shape != other.shape) {
      fmt::print("{}: shapes {} and {}\n", t.name, t.shape, other.shape);
      ++different;
      continue;
    }
    const Difference d = difference(t.make(), other.make());
    for (const TensorFile::Entry& e : t.used) first.forget(e);
    for (const TensorFile::Entry& e : other.used) second.forget(e);
    if (d.comparable && d.largest == 0) {
      ++equal;
    } else if (d.comparable && d.relative <= o.tolerance) {
      ++close;
    } else {
      ++different;
      fmt::print("{}: {}\n", t.name, d.comparable ? fmt::format("differs by {:.3g} at a value of {:.3g}, {:.3g} of the largest", d.largest, d.at, d.relative)
                                                  : "holds NaN");
    }
  }
  for (const ConvertedTensor& t : b) {
    if (!others.contains(t.name)) continue;
    fmt::print("{}: only in {}\n", t.name, second.path().string());
    ++different;
  }
  fmt::print("compared under {} names: {} equal, {} within {}, {} different\n", as_model ? "the model's" : "the files'", equal, close,
             o.tolerance, different);
  check_input(different == 0, "{}: {} tensors differ from {}", o.check_file, different, o.source);
}

void convert(Options o) {
  const TensorFile file{fs::path(o.source)};
  o.conversion.source = o.source;
  if (!o.folder.empty()) {
    const Conversion conversion = plan_conversion(file, o.conversion);
    print_table(file, conversion);
    write_folder(file, conversion, o);
  }
  if (!o.check_file.empty()) compare(o.folder.empty() ? file : TensorFile(fs::path(o.folder)), o);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  CLI::App app{"Converts pretrained weights (safetensors, PyTorch .pt .pth .bin, TorchScript; mT5, XLM-R, M-CLIP, CLIP, ResNeXt, EmbraceNet, "
               "the cascade) to a weft model folder."};
  app.footer("Example: weft-convert resnext50_32x4d.pth models/resnext50\n         weft-convert --list ViT-B-32.pt");
  weft::Options o;
  weft::CommonOptions common;
  app.add_option("SOURCE", o.source, "File, index.json of several files, or folder of the Hugging Face hub");
  app.add_option("DIR", o.folder, "New model folder");
  app.add_option("--list", o.list_file, "Show the tensors of any supported file")->type_name("FILE");
  app.add_option("--check", o.check_file, "Compare with a second file, tensor by tensor; 1 is returned if any differs")->type_name("FILE");
  app.add_option("--tolerance", o.tolerance, "With --check: differences up to this part of a tensor's largest value are let pass")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--dtype", o.dtype, "Of the written weights (default: the source's); bf16 leaves vectors in f32")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--config", o.conversion.config, "config.json to use instead of the one beside SOURCE")->type_name("FILE");
  app.add_option("--data", o.conversion.data, "EmbraceNet: GLAMI-1M's folder, for the categories' names")->type_name("DIR");
  app.add_option("--text-encoder", o.conversion.text_encoder, "EmbraceNet: weft-convert's folder of mT5, to be put in")->type_name("DIR");
  common.add_json(app);
  return weft::run_program(argc, argv, app, [&] {
    if (!o.list_file.empty()) {
      if (!o.source.empty()) throw CLI::ValidationError("--list", "stands alone");
      return weft::list(o.list_file, common.json);
    }
    if (o.source.empty() || (o.folder.empty() && o.check_file.empty())) {
      throw CLI::ValidationError("SOURCE", "SOURCE and DIR, SOURCE and --check FILE, or --list FILE were expected");
    }
    weft::convert(o);
  });
}
