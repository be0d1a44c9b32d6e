#include "tensor/files/pickle.h"

#include <bit>
#include <cstring>

#include "tensor/atomic_file.h"

namespace weft {

namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kind_names[] = {"None",   "a boolean", "a whole number", "a real number", "a text",
                                           "a list", "a tuple",   "a dict",         "an object",     "a storage",
                                           "a tensor", "an opaque value", "a global name"};

// What the names on the allowlist stand for.
enum class Name : uint8_t { ordered_dict, rebuild_tensor, rebuild_old_tensor, rebuild_parameter, numpy_scalar, numpy_dtype,
                            encode, typed_list, restore_type, storage, script_class };
struct AllowedName {
  std::string_view module, name;
  Name meaning;
  DType dtype = DType::f32;  // of a storage
};
constexpr AllowedName allowed_names[] = {
    {"collections", "OrderedDict", Name::ordered_dict},
    {"torch._utils", "_rebuild_tensor_v2", Name::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor", Name::rebuild_old_tensor},
    {"torch._utils", "_rebuild_parameter", Name::rebuild_parameter},
    {"torch.nn.parameter", "Parameter", Name::rebuild_parameter},
    {"numpy.core.multiarray", "scalar", Name::numpy_scalar},
    {"numpy._core.multiarray", "scalar", Name::numpy_scalar},
    {"numpy", "dtype", Name::numpy_dtype},
    {"_codecs", "encode", Name::encode},
    {"torch", "FloatStorage", Name::storage, DType::f32},
    {"torch", "BFloat16Storage", Name::storage, DType::bf16},
    {"torch", "HalfStorage", Name::storage, DType::f16},
    {"torch", "DoubleStorage", Name::storage, DType::f64},
    {"torch", "IntStorage", Name::storage, DType::i32},
    {"torch", "LongStorage", Name::storage, DType::i64},
    {"torch", "ByteStorage", Name::storage, DType::u8},
    {"torch", "BoolStorage", Name::storage, DType::boolean},
    {"torch.jit._pickle", "build_intlist", Name::typed_list},
    {"torch.jit._pickle", "build_doublelist", Name::typed_list},
    {"torch.jit._pickle", "build_boollist", Name::typed_list},
    {"torch.jit._pickle", "build_tensorlist", Name::typed_list},
    {"torch.jit._pickle", "restore_type_tag", Name::restore_type},
    {"__torch__", "", Name::script_class},
};

bool is_script_module(std::string_view module) { return module == "__torch__" || module.starts_with("__torch__."); }

constexpr size_t stack_limit = size_t{1} << 20;

}  // namespace

std::string_view name_of(Kind kind) { return kind_names[static_cast<size_t>(kind)]; }

// The stack machine. Marks split the stack: what lies below the last one cannot be taken.
class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::string label, const Pickle::Options& options)
      : p_(pickle), bytes_(pickle.bytes_), label_(std::move(label)), options_(options), at_(options.begin) {}

  void run() {
    while (!step()) {
    }
    expect(stack_.size() == 1 && marks_.empty(), "one value must be left at the end but there are {}", stack_.size());
    expect(options_.legacy || at_ == bytes_.size(), "nothing may follow the end but {} bytes do", bytes_.size() - at_);
    p_.end_ = at_;
    p_.root_ = stack_.back();
  }

 private:
  template <class... Args>
  void expect(bool ok, fmt::format_string<const Args&...> format, const Args&... args) const {
    if (!ok) fail("{}: byte {}: {}", label_, begin_, fmt::vformat(format, fmt::make_format_args(args...)));
  }

  void spend(uint64_t bytes) {
    expect(bytes <= options_.memory, "the values must need no more memory than the file's size allows but do");
    options_.memory -= bytes;
  }

  std::string_view take(uint64_t count) {
    expect(count <= bytes_.size() - at_, "{} bytes were expected but {} are left", count, bytes_.size() - at_);
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    expect(end != std::string_view::npos, "a name that ends with a line break was expected");
    const std::string_view text = take(end - at_);
    ++at_;
    return text;
  }

  void push(const PickleValue& value) {
    expect(stack_.size() < stack_limit, "at most {} values may lie on the stack", stack_limit);
    stack_.push_back(value);
  }
  void push_integer(int64_t value, Kind kind = Kind::integer) {
    PickleValue v{kind};
    v.integer = value;
    push(v);
  }
  void push_indexed(Kind kind, uint64_t index) {
    PickleValue v{kind};
    v.index = index;
    push(v);
  }
  void push_sequence(Kind kind, std::vector<PickleValue> items) {
    spend(64 + 16 * items.size());
    p_.sequences_.push_back(std::move(items));
    push_indexed(kind, p_.sequences_.size() - 1);
  }

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue pop() {
    expect(stack_.size() > floor(), "a value was expected but the stack has none");
    const PickleValue value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue pop(Kind kind, const char* what) {
    const PickleValue value = pop();
    expect(value.is(kind), "{} must be {} but is {}", what, name_of(kind), name_of(value.kind));
    return value;
  }
  // What lies above the last mark, which goes too.
  std::vector<PickleValue> pop_marked() {
    expect(!marks_.empty(), "a mark was expected but there is none");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleValue> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<PickleValue> pop_count(size_t count) {
    std::vector<PickleValue> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  const PickleValue& top(Kind kind, const char* what) const {
    expect(stack_.size() > floor(), "{} was expected but the stack is empty", name_of(kind));
    expect(stack_.back().is(kind), "{} must be {} but is {}", what, name_of(kind), name_of(stack_.back().kind));
    return stack_.back();
  }

  void append(const PickleValue& list, std::span<const PickleValue> items) {
    spend(48 * items.size());  // also for what a vector holds while it grows
    auto& to = p_.sequences_[list.index];
    to.insert(to.end(), items.begin(), items.end());
  }
  void set_items(std::span<const PickleValue> items) {
    const PickleValue dict = top(Kind::dict, "what takes keys and values");
    expect(items.size() % 2 == 0, "keys and values by turns were expected but there are {}", items.size());
    for (size_t i = 0; i < items.size(); i += 2) {
      expect(items[i].kind <= Kind::text || items[i].is(Kind::tuple) || items[i].is(Kind::opaque),
             "a key must be a plain value but is {}", name_of(items[i].kind));
    }
    append(dict, items);
  }

  void global() {
    const std::string_view module = line(), name = line();
    for (size_t i = 0; i < std::size(allowed_names); ++i) {
      const AllowedName& allowed = allowed_names[i];
      const bool same = allowed.meaning == Name::script_class ? options_.torch_script && is_script_module(module)
                                                              : module == allowed.module && name == allowed.name;
      if (same) return push_indexed(Kind::global, i);
    }
    expect(false, "the name {} is not one that a file of tensors needs: refused",
           quote(fmt::format("{} {}", module.substr(0, 200), name.substr(0, 200))));
  }

  const AllowedName& pop_global() { return allowed_names[pop(Kind::global, "what is called").index]; }

  // After the strides: whether it needs a gradient, its hooks, metadata; PyTorch 0.3 had none of them.
  void build_tensor(std::span<const PickleValue> args, size_t least, size_t most) {
    const bool whole = args.size() >= least && args.size() <= most && args[0].is(Kind::storage) &&
                       args[1].is(Kind::integer) && args[2].is(Kind::tuple) && args[3].is(Kind::tuple);
    expect(whole, "a tensor must have a storage, an offset, a shape and strides but has not");
    spend(320);  // the record, and what its list of the file's tensors takes
    PickledTensor t;
    t.storage = args[0].index;
    expect(args[1].integer >= 0, "a tensor's offset must be at least 0 but is {}", args[1].integer);
    t.offset = static_cast<uint64_t>(args[1].integer);
    read_extents(args[2], t.shape, "shape");
    read_extents(args[3], t.strides, "strides");
    expect(t.shape.rank() == t.strides.rank(), "a tensor of {} axes must have as many strides but has {}", t.shape.rank(),
           t.strides.rank());
    p_.tensors_.push_back(t);
    push_indexed(Kind::tensor, p_.tensors_.size() - 1);
  }
  void read_extents(const PickleValue& tuple, Shape& to, const char* what) const {
    const auto& items = p_.sequences_[tuple.index];
    expect(items.size() <= Shape::max_rank, "a tensor may have at most {} axes but has {}", Shape::max_rank, items.size());
    for (const PickleValue& v : items) {
      expect(v.is(Kind::integer) && v.integer >= 0, "a tensor's {} must hold numbers of at least 0", what);
      to.push_back(v.integer);
    }
  }

  // Python 2 gives it a list of [key, value].
  void ordered_dict(std::span<const PickleValue> args) {
    const bool with_items = options_.legacy && args.size() == 1 && args[0].is(Kind::list);
    expect(args.empty() || with_items, "an OrderedDict must begin empty but has {} arguments", args.size());
    push_sequence(Kind::dict, {});
    if (!with_items) return;
    for (const PickleValue& pair : p_.sequences_[args[0].index]) {
      const bool two = pair.is(Kind::list) || pair.is(Kind::tuple);
      expect(two && p_.sequences_[pair.index].size() == 2, "an OrderedDict must have pairs of a key and a value");
      set_items(p_.sequences_[pair.index]);
    }
  }

  void reduce() {
    const PickleValue tuple = pop(Kind::tuple, "a call's arguments");
    const AllowedName& called = pop_global();
    const std::vector<PickleValue>& args = p_.sequences_[tuple.index];
    switch (called.meaning) {
      case Name::ordered_dict: return ordered_dict(args);
      case Name::rebuild_tensor: return build_tensor(args, 6, 7);
      case Name::rebuild_old_tensor: return build_tensor(args, 4, 4);
      case Name::rebuild_parameter:
        expect(!args.empty() && args[0].is(Kind::tensor), "a parameter must be made of a tensor");
        return push(args[0]);
      case Name::typed_list:
        expect(args.size() == 1 && args[0].is(Kind::list), "{} must have one list", called.name);
        return push(args[0]);
      case Name::restore_type:
        expect(args.size() == 2 && args[1].is(Kind::text), "{} must have a value and its type", called.name);
        return push(args[0]);
      case Name::numpy_scalar:
      case Name::numpy_dtype:
      case Name::encode: return push(Kind::opaque);
      default: expect(false, "{} {} must not be called", called.module, called.name);
    }
  }

  void new_object() {
    const PickleValue args = pop(Kind::tuple, "an object's arguments");
    const AllowedName& type = pop_global();
    expect(type.meaning == Name::script_class && p_.sequences_[args.index].empty(),
           "an object must be of a TorchScript class and begin empty");
    push_sequence(Kind::object, {});
  }

  // What OrderedDict and NumPy's dtype are told is not needed; an object is what it is told.
  void build() {
    const PickleValue state = pop();
    expect(stack_.size() > floor(), "a value was expected but the stack has none");
    const PickleValue& target = stack_.back();
    if (target.is(Kind::object)) {
      expect(p_.sequences_[target.index].empty(), "an object must get its state once");
      return append(target, {&state, 1});
    }
    const bool parameter = options_.legacy && target.is(Kind::tensor) && is_parameter_state(state);
    expect(target.is(Kind::dict) || target.is(Kind::opaque) || parameter, "{} cannot have a state", name_of(target.kind));
  }

  // (needs a gradient, volatile, hooks), as PyTorch 0.3 wrote it: nothing that changes the elements.
  bool is_parameter_state(const PickleValue& state) const {
    if (!state.is(Kind::tuple)) return false;
    const auto& items = p_.sequences_[state.index];
    return items.size() == 3 && items[0].is(Kind::boolean) && items[1].is(Kind::boolean);
  }

  // ('storage', type, key, location, count): torch.serialization's persistent id; before 1.6 with None or (key, first
  // element, count) of a view after it.
  void persistent_id() {
    const PickleValue id = pop(Kind::tuple, "a persistent id");
    const auto& items = p_.sequences_[id.index];
    const bool whole = items.size() == (options_.legacy ? 6 : 5) && items[0].is(Kind::text) &&
                       p_.text(items[0]) == "storage" && items[1].is(Kind::global) &&
                       allowed_names[items[1].index].meaning == Name::storage && items[2].is(Kind::text) &&
                       items[4].is(Kind::integer) && items[4].integer >= 0;
    expect(whole, "a persistent id must name a storage, its type, key, place and count but does not");
    spend(80);
    const auto count = static_cast<uint64_t>(items[4].integer);
    PickledStorage storage{p_.text(items[2]), allowed_names[items[1].index].dtype, count, 0, count};
    if (options_.legacy && !items[5].is(Kind::none)) view(items[5], storage);
    p_.storages_.push_back(storage);
    push_indexed(Kind::storage, p_.storages_.size() - 1);
  }
  void view(const PickleValue& value, PickledStorage& storage) const {
    const std::span<const PickleValue> items = p_.items(value);
    const bool whole = value.is(Kind::tuple) && items.size() == 3 && items[0].is(Kind::text) &&
                       items[1].is(Kind::integer) && items[2].is(Kind::integer);
    expect(whole, "a storage's view must have a key, a first element and a count but has not");
    const auto begin = static_cast<uint64_t>(items[1].integer), count = static_cast<uint64_t>(items[2].integer);
    expect(begin <= storage.count && count <= storage.count - begin,
           "a view of {} elements from {} on must lie in its storage of {} but does not", items[2].integer,
           items[1].integer, storage.count);
    storage.begin = begin;
    storage.count = count;
  }

  void put(uint64_t index) {
    expect(stack_.size() > floor(), "a value was expected but the stack has none");
    expect(index <= memo_.size(), "memo {} must follow on the {} before it", index, memo_.size());
    if (index < memo_.size()) {
      memo_[index] = stack_.back();
    } else {
      spend(48);
      memo_.push_back(stack_.back());
    }
  }
  void get(uint64_t index) {
    expect(index < memo_.size(), "memo {} was expected but there are {}", index, memo_.size());
    push(memo_[index]);
  }

  void text(uint32_t length) {
    PickleValue v{Kind::text, length};
    v.index = at_;
    take(length);
    push(v);
  }
  void real() {
    PickleValue v{Kind::real};
    v.real = std::bit_cast<double>(__builtin_bswap64(number<uint64_t>()));
    push(v);
  }
  void long_integer() {
    const std::string_view digits = take(number<uint8_t>());
    expect(digits.size() <= 8, "a whole number must have at most 8 bytes but has {}", digits.size());
    uint64_t value = !digits.empty() && digits.back() < 0 ? ~uint64_t{0} : 0;
    for (size_t i = digits.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(digits[i]);
    push_integer(static_cast<int64_t>(value));
  }

  // One instruction; true at the end.
  bool step() {
    begin_ = at_;
    const auto op = static_cast<unsigned char>(take(1)[0]);
    expect((begin_ == options_.begin) == (op == 0x80), "a pickle must begin with its protocol, once, but byte 0x{:02x} is there", op);
    switch (op) {
      case 0x80: {
        const auto protocol = number<uint8_t>();
        expect(protocol == 2, "pickle protocol 2, PyTorch's default, was expected but it is {}", protocol);
        break;
      }
      case '(':
        expect(marks_.size() < stack_limit, "at most {} marks may be open", stack_limit);
        marks_.push_back(stack_.size());
        break;
      case ')': push_sequence(Kind::tuple, {}); break;
      case ']': push_sequence(Kind::list, {}); break;
      case '}': push_sequence(Kind::dict, {}); break;
      case 't': push_sequence(Kind::tuple, pop_marked()); break;
      case 0x85:
      case 0x86:
      case 0x87: push_sequence(Kind::tuple, pop_count(op - 0x84u)); break;
      case 'N': push(Kind::none); break;
      case 0x88: push_integer(1, Kind::boolean); break;
      case 0x89: push_integer(0, Kind::boolean); break;
      case 'J': push_integer(number<int32_t>()); break;
      case 'K': push_integer(number<uint8_t>()); break;
      case 'M': push_integer(number<uint16_t>()); break;
      case 0x8a: long_integer(); break;
      case 'G': real(); break;
      case 'X': text(number<uint32_t>()); break;
      case 'T':
      case 'U':  // Python 2's
        expect(options_.legacy, "instruction 0x{:02x} is not one that a file of tensors needs: refused", op);
        text(op == 'T' ? number<uint32_t>() : number<uint8_t>());
        break;
      case 'q': put(number<uint8_t>()); break;
      case 'r': put(number<uint32_t>()); break;
      case 'h': get(number<uint8_t>()); break;
      case 'j': get(number<uint32_t>()); break;
      case 'c': global(); break;
      case 'R': reduce(); break;
      case 0x81: new_object(); break;
      case 'b': build(); break;
      case 'Q': persistent_id(); break;
      case 's': set_items(pop_count(2)); break;
      case 'u': set_items(pop_marked()); break;
      case 'a': {
        const PickleValue item = pop();
        append(top(Kind::list, "what takes items"), {&item, 1});
        break;
      }
      case 'e': {
        const std::vector<PickleValue> items = pop_marked();
        append(top(Kind::list, "what takes items"), items);
        break;
      }
      case '.': return true;
      default: expect(false, "instruction 0x{:02x} is not one that a file of tensors needs: refused", op);
    }
    return false;
  }

  Pickle& p_;
  std::string_view bytes_;
  std::string label_;
  Pickle::Options options_;
  uint64_t at_, begin_ = 0;  // the next byte; where the instruction began
  std::vector<PickleValue> stack_, memo_;
  std::vector<size_t> marks_;
};

Pickle::Pickle(std::string_view bytes, std::string label, const Options& options) : bytes_(bytes) {
  PickleMachine(*this, std::move(label), options).run();
}

std::span<const PickleValue> Pickle::items(const PickleValue& value) const {
  const bool has = value.is(Kind::list) || value.is(Kind::tuple) || value.is(Kind::dict) || value.is(Kind::object);
  return has ? std::span<const PickleValue>(sequences_[value.index]) : std::span<const PickleValue>();
}

const PickleValue* Pickle::find(const PickleValue& dict, std::string_view key) const {
  if (!dict.is(Kind::dict)) return nullptr;
  const auto all = items(dict);
  for (size_t i = 0; i + 1 < all.size(); i += 2) {
    if (all[i].is(Kind::text) && text(all[i]) == key) return &all[i + 1];
  }
  return nullptr;
}

}  // namespace weft
