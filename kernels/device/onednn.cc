#include "kernels/device/onednn.h"

#include <omp.h>

#include <algorithm>
#include <list>
#include <mutex>
#include <unordered_map>

#include "kernels/device/elementwise.h"
#include "tensor/files/mapped_memory.h"

namespace weft::onednn {

namespace {

constexpr size_t most_plans = 1024;
constexpr int64_t most_packed_bytes = int64_t{2} << 30;

// oneDNN splits the work when a primitive is made, for the threads that it would get then.
int threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

const dnnl::stream& stream() {
  static const dnnl::stream one(engine());
  return one;
}

struct KeyHash {
  size_t operator()(const Key& key) const { return key.hash(); }
};

// A map that forgets what was used longest ago. Not thread-safe by itself.
template <class K, class V, class Hash> class Recent {
 public:
  V* find(const K& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  void insert(const K& key, V value) {
    erase(key);
    entries_.emplace_front(key, std::move(value));
    index_[key] = entries_.begin();
  }
  void erase(const K& key) {
    if (const auto found = index_.find(key); found != index_.end()) {
      entries_.erase(found->second);
      index_.erase(found);
    }
  }
  template <class Condition> void erase_if(Condition&& condition) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const auto next = std::next(entry);
      if (condition(entry->second)) {
        index_.erase(entry->first);
        entries_.erase(entry);
      }
      entry = next;
    }
  }
  void erase_oldest() {
    index_.erase(entries_.back().first);
    entries_.pop_back();
  }
  size_t size() const { return entries_.size(); }
  const std::list<std::pair<K, V>>& entries() const { return entries_; }

 private:
  std::list<std::pair<K, V>> entries_;
  std::unordered_map<K, typename std::list<std::pair<K, V>>::iterator, Hash> index_;
};

struct PackedWeights {
  std::weak_ptr<Storage> source;
  uint64_t version;
  Tensor packed;
};

class PackedCache {
 public:
  Tensor find(const Key& key, const Tensor& w) {
    const std::lock_guard lock(mutex_);
    PackedWeights* found = kept_.find(key);
    if (!found) return {};
    if (found->version == w.storage()->version) return found->packed;
    bytes_ -= found->packed.nbytes();
    kept_.erase(key);
    return {};
  }
  void insert(const Key& key, const Tensor& w, const Tensor& packed) {
    const std::lock_guard lock(mutex_);
    drop_freed();
    if (packed.nbytes() > most_packed_bytes || kept_.find(key)) return;
    while (bytes_ + packed.nbytes() > most_packed_bytes) {
      bytes_ -= kept_.entries().back().second.packed.nbytes();
      kept_.erase_oldest();
    }
    bytes_ += packed.nbytes();
    kept_.insert(key, {w.storage(), w.storage()->version, packed});
  }
  int64_t bytes() {
    const std::lock_guard lock(mutex_);
    drop_freed();
    return bytes_;
  }

 private:
  // Again while something goes: a widened weight that is dropped may be the source of a packed one.
  void drop_freed() {
    size_t before;
    do {
      before = kept_.size();
      kept_.erase_if([this](const PackedWeights& entry) {
        if (!entry.source.expired()) return false;
        bytes_ -= entry.packed.nbytes();
        return true;
      });
    } while (kept_.size() < before);
  }
  std::mutex mutex_;
  Recent<Key, PackedWeights, KeyHash> kept_;
  int64_t bytes_ = 0;
};

// Never destroyed: a static tensor elsewhere may still be in use when the program ends.
PackedCache& packed_cache() {
  static auto* cache = new PackedCache;
  return *cache;
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine one(dnnl::engine::kind::cpu, 0);
  return one;
}

dnnl::memory::data_type type_of(DType dtype) {
  check(dtype == DType::f32 || dtype == DType::bf16, "[onednn] the dtype must be f32 or bf16 but is {}", dtype);
  return dtype == DType::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

bool computes(DType dtype) {
  static const bool has_bf16 = [] {
    const auto bits = [](dnnl::cpu_isa isa) { return static_cast<unsigned>(isa); };  // each set holds those before it
    const unsigned avx512 = bits(dnnl::cpu_isa::avx512_core);
    return (bits(dnnl::get_effective_cpu_isa()) & avx512) == avx512;
  }();
  return dtype == DType::f32 || (dtype == DType::bf16 && has_bf16);
}

Key::Key(std::initializer_list<int64_t> words) {
  for (int64_t word : words) *this << word;
}

Key& Key::operator<<(int64_t word) {
  check(count_ < capacity, "[onednn] a key has at most {} words", capacity);
  words_[count_++] = word;
  return *this;
}

bool Key::operator==(const Key& other) const {
  return count_ == other.count_ && std::equal(words_, words_ + count_, other.words_);
}

size_t Key::hash() const {
  uint64_t h = 0x9E3779B97F4A7C15u;
  for (int i = 0; i < count_; ++i) {
    h = (h ^ static_cast<uint64_t>(words_[i])) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  return h;
}

Layout layout_of(const dnnl::memory::desc& desc) {
  static std::mutex mutex;
  static auto* known = new std::vector<dnnl::memory::desc>;
  const std::lock_guard lock(mutex);
  auto found = std::find(known->begin(), known->end(), desc);
  if (found == known->end()) found = known->insert(known->end(), desc);
  return {desc, static_cast<int>(found - known->begin())};
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

PlanPointer plan(const Key& key, const std::function<Plan()>& make) {
  static std::mutex mutex;
  static auto* plans = new Recent<Key, PlanPointer, KeyHash>;
  Key full = key;
  full << threads();
  {
    const std::lock_guard lock(mutex);
    if (const PlanPointer* found = plans->find(full)) return *found;
  }
  PlanPointer made = std::make_shared<const Plan>(make());
  const std::lock_guard lock(mutex);
  plans->insert(full, made);
  if (plans->size() > most_plans) plans->erase_oldest();
  return made;
}

void run(const Plan& plan, std::initializer_list<const void*> data) {
  check(data.size() == plan.arguments.size(), "[onednn] the primitive takes {} arguments but {} were given",
        plan.arguments.size(), data.size());
  std::unordered_map<int, dnnl::memory> arguments;
  const void* const* pointer = data.begin();
  for (const auto& [name, desc] : plan.arguments)
    arguments.emplace(name, dnnl::memory(desc, engine(), const_cast<void*>(*pointer++)));
  Tensor scratchpad;
  if (const size_t bytes = plan.scratchpad.get_size(); bytes > 0) {
    scratchpad = Tensor::empty({static_cast<int64_t>(bytes)}, DType::u8);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, dnnl::memory(plan.scratchpad, engine(), scratchpad.raw()));
  }
  plan.primitive.execute(stream(), arguments);
}

void reorder(const Layout& from_layout, const void* from, const Layout& to_layout, void* to) {
  const PlanPointer p = plan({-1, from_layout.id, to_layout.id}, [&] {
    const dnnl::reorder::primitive_desc pd(engine(), from_layout.desc, engine(), to_layout.desc, attributes());
    return Plan{dnnl::reorder(pd),
                {{DNNL_ARG_FROM, from_layout.desc}, {DNNL_ARG_TO, to_layout.desc}},
                pd.scratchpad_desc(),
                {},
                {}};
  });
  run(*p, {from, to});
}

namespace {
Tensor found_or_made(const Key& key, const Tensor& w, bool keep, const std::function<Tensor()>& make) {
  if (!keep) return make();
  if (Tensor found = packed_cache().find(key, w)) return found;
  const Tensor made = make();
  packed_cache().insert(key, w, made);
  return made;
}
}  // namespace

Tensor packed(const Tensor& w, const Plan& plan, bool keep) {
  if (plan.given.id == plan.wanted.id) return w;
  const Key key{static_cast<int64_t>(w.storage()->id), w.byte_offset(), plan.given.id, plan.wanted.id};
  return found_or_made(key, w, keep, [&] {
    const Tensor result = Tensor::empty({static_cast<int64_t>(plan.wanted.desc.get_size())}, DType::u8);
    reorder(plan.given, w.raw(), plan.wanted, result.raw());
    if (keep) forget_mapped(w);
    return result;
  });
}

Tensor packed(const Tensor& w, Way way, bool keep, const std::function<Tensor()>& make) {
  Key key{static_cast<int64_t>(w.storage()->id), w.byte_offset(), -1, static_cast<int64_t>(way)};
  for (int64_t size : w.shape()) key << size;
  return found_or_made(key, w, keep, [&] {
    const Tensor result = make();
    if (keep) forget_mapped(w);
    return result;
  });
}

Tensor widened(const Tensor& t, bool keep) {
  if (!t || t.dtype() == DType::f32) return t;
  return packed(t, Way::widened, keep, [&] {
    const Tensor wide = Tensor::empty(t.shape(), DType::f32);
    elementwise(wide.data<float>(), t.numel(),
                [from = t.data<bf16>()](int64_t i) { return static_cast<float>(from[i]); });
    return wide;
  });
}

void round_to(const Tensor& y, const Tensor& x) {
  if (y.dtype() == DType::f32) return;
  elementwise(y.data<bf16>(), y.numel(), [from = x.data<float>()](int64_t i) { return from[i]; });
}

int64_t packed_bytes() { return packed_cache().bytes(); }

}  // namespace weft::onednn
