// The cuda half of conv2d: implicit GEMM for everything, a kernel of its own for small groups of 3x3.
#include <map>
#include <mutex>
#include <tuple>

#include "kernels/device/conv_cuda.h"
#include "kernels/device/conv_operand.cuh"
#include "kernels/device/copies.h"
#include "kernels/device/cudnn.h"
#include "kernels/device/doors.h"
#include "kernels/device/elementwise.cuh"
#include "kernels/device/gemm_launch.cuh"
#include "kernels/device/grouped_conv.cuh"
#include "kernels/device/turn.cuh"

namespace weft {

namespace {

constexpr int block = 256;

// One thread an element of the weight; the first of an output makes its bias too.
template <class T>
__global__ void fold_kernel(const T* weight, const float* gamma, const float* beta, const float* mean, const float* var,
                            float eps, T* folded, T* bias, int64_t count, int64_t inner) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t o = i / inner;
  const float scale = gamma[o] / sqrtf(var[o] + eps);
  folded[i] = from_float<T>(to_float(weight[i]) * scale);
  if (i % inner == 0) bias[o] = from_float<T>(beta[o] - mean[o] * scale);
}

// Packed copies of weights that do not change from call to call, until the weights are modified or freed.
class PackedWeights {
 public:
  template <class Pack> Tensor get(const Tensor& w, const ConvSizes& s, Pack&& pack) {
    const std::lock_guard lock(mutex_);
    std::erase_if(kept_, [](const auto& entry) { return entry.second.source.expired(); });
    Kept& kept = kept_[{w.storage()->id, w.byte_offset(), s.cg(), s.kh * s.kw}];
    if (!kept.packed || kept.version != w.storage()->version) kept = {w.storage(), w.storage()->version, pack()};
    return kept.packed;
  }

 private:
  struct Kept {
    std::weak_ptr<Storage> source;
    uint64_t version = 0;
    Tensor packed;
  };
  std::mutex mutex_;
  std::map<std::tuple<uint64_t, int64_t, int64_t, int64_t>, Kept> kept_;
};

// Destroyed at exit before the device's allocator gives back what it holds, since that was there first.
PackedWeights& packed_weights() {
  static PackedWeights one;
  return one;
}

template <class T> Tensor packed(const Tensor& w, const ConvSizes& s) {
  const auto pack = [&] {
    Tensor result = empty_like(w);
    const TurnTile tile(s.o, s.cg(), s.kh * s.kw);
    launch("conv_pack", pack_kernel<T>, tile.grid(), TurnTile::threads, tile.shared(), elements<T>(w),
           elements<T>(result), tile);
    return result;
  };
  return s.keep_weights ? packed_weights().get(w, s, pack) : pack();
}

template <class... Values> bool all_multiples(int64_t of, Values... values) { return (... && (values % of == 0)); }
inline bool at_16(const Tensor& x) { return reinterpret_cast<uintptr_t>(x.raw()) % 16 == 0; }

// The f32 kernels turn what is contiguous along k with 4-byte copies, which always fit.
template <class T> constexpr int64_t k_width = std::is_same_v<T, float> ? 1 : 8;

// x seen from the output's pixels.
template <class T> PatchOperand<T> patches(const Tensor& x, const ConvSizes& s) {
  PatchOperand<T> p{};
  p.data = elements<T>(x);
  p.height = s.h, p.width = s.w, p.pixel_step = s.c;
  p.step = s.stride, p.origin_y = p.origin_x = -static_cast<int>(s.padding), p.direction = 1;
  p.channels = s.cg(), p.rows = s.n * s.oh * s.ow, p.depth = s.kh * s.kw * s.cg();
  p.by_grid_height = Divider(s.oh), p.by_grid_width = Divider(s.ow);
  p.by_tap_width = Divider(s.kw), p.by_channels = Divider(s.cg());
  return p;
}

// A few bf16 channels, a picture's 3 above all, never lie at multiples of 16 bytes. With zeros up to 8 they do: 2.7
// times the products, which the tensor cores have to spare, for copies of 16 bytes in place of 2.
constexpr int64_t wide_channels = 8;
template <class T> bool few_channels(const ConvSizes& s) {
  return sizeof(T) == 2 && s.groups == 1 && s.c >= 3 && s.c < wide_channels;
}

ConvSizes widened(ConvSizes s) {
  s.c = wide_channels;
  s.keep_weights = false;  // a widened copy is new in every call
  return s;
}

// Rows of `length` become rows of `wide`, with zeros after them. One thread an element written.
template <class T> __global__ void widen_kernel(const T* from, T* to, int64_t count, int length, int wide) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int at = static_cast<int>(i % wide);
  to[i] = at < length ? from[i / wide * length + at] : from_float<T>(0);
}

// x as rows of `row` elements a channel: 1 for images, the taps for weights.
template <class T> Tensor with_wide_channels(const Tensor& x, const Shape& shape, int64_t channels, int64_t row) {
  const Tensor wide = Tensor::empty(shape, x.dtype(), Device::cuda);
  launch("conv_widen", widen_kernel<T>, grid_of(wide.numel(), block), block, 0, elements<T>(x), elements<T>(wide),
         wide.numel(), static_cast<int>(channels * row), static_cast<int>(wide_channels * row));
  return wide;
}
template <class T> Tensor wide_images(const Tensor& x, const ConvSizes& s) {
  return with_wide_channels<T>(x, {s.n, s.h, s.w, wide_channels}, s.c, 1);
}

template <class T>
void forward_gemm(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y,
                  const ConvSizes& s) {
  if (few_channels<T>(s)) {
    const Tensor weights = with_wide_channels<T>(w, {s.o, wide_channels, s.kh, s.kw}, s.c, s.kh * s.kw);
    return forward_gemm<T>(wide_images<T>(x, s), weights, bias, relu, y, widened(s));
  }
  const Tensor weights = packed<T>(w, s);
  const PatchOperand<T> a = patches<T>(x, s);
  const MatrixOperand<T, true> b{elements<T>(weights), s.og() * a.depth, a.depth, static_cast<int>(s.og()), a.depth};
  const bool aligned = all_multiples(k_width<T>, s.c, s.cg()) && at_16(x),
             vectors = all_multiples(widest<T>, s.o, s.og()) && at_16(y);
  const GemmPlan plan = plan_gemm(s.groups, a.rows, s.og(), a.depth, aligned);
  const Tensor partial =
      plan.splits > 1 ? Tensor::empty({s.groups * plan.splits, a.rows, s.og()}, DType::f32, Device::cuda) : Tensor();
  const Result<T, MatrixRows> result{elements<T>(y),
                                     elements<T>(bias),
                                     nullptr,
                                     elements<float>(partial),
                                     relu ? Activation::relu : Activation::none,
                                     a.rows,
                                     static_cast<int>(s.og()),
                                     vectors,
                                     {s.o, s.og()},
                                     s.og()};
  launch_gemm<true, true>("conv_forward", a, b, result, s.groups, plan, aligned);
  if (plan.splits > 1) launch_gemm_sum(result, s.groups, plan.splits);
}

// Input pixel (i, j) gets its gradient from the taps p = (i + padding) mod stride, q likewise and every stride-th on.
// Pixels with the same remainders are a phase: the input gradient is stride^2 products, each with only its taps.
template <class T>
void backward_data_phase(const Tensor& dz, const Tensor& weights, const Tensor& dx, const ConvSizes& s, int64_t phase_y,
                         int64_t phase_x) {
  // The first pixel of the phase along an axis, and how many there are.
  const auto first = [&](int64_t phase) { return ((phase - s.padding) % s.stride + s.stride) % s.stride; };
  const auto count = [&](int64_t from, int64_t extent) {
    return std::max<int64_t>(ceil_div(extent - from, s.stride), 0);
  };
  const int64_t i = first(phase_y), j = first(phase_x), grid_h = count(i, s.h), grid_w = count(j, s.w);
  const int64_t taps_h = count(phase_y, s.kh), taps_w = count(phase_x, s.kw);
  if (grid_h == 0 || grid_w == 0) return;

  PatchOperand<T> a{};
  a.data = elements<T>(dz);
  a.height = s.oh, a.width = s.ow, a.pixel_step = s.o, a.step = 1, a.direction = -1;
  a.origin_y = (i + s.padding) / s.stride, a.origin_x = (j + s.padding) / s.stride;
  a.channels = s.og(), a.rows = s.n * grid_h * grid_w, a.depth = taps_h * taps_w * s.og();
  a.by_grid_height = Divider(grid_h), a.by_grid_width = Divider(grid_w);
  a.by_tap_width = Divider(taps_w), a.by_channels = Divider(s.og());
  PhaseWeights<T> b{};
  b.data = elements<T>(weights);
  b.first_y = phase_y, b.first_x = phase_x, b.stride = s.stride, b.kernel_width = s.kw, b.taps = s.kh * s.kw;
  b.outputs = s.og(), b.rows = s.cg(), b.depth = a.depth;
  b.by_tap_width = a.by_tap_width, b.by_outputs = a.by_channels;
  PhaseRows place{};
  place.height = s.h, place.width = s.w, place.pixel_step = s.c, place.channels = s.cg();
  place.first_y = i, place.first_x = j, place.stride = s.stride;
  place.by_grid_height = a.by_grid_height, place.by_grid_width = a.by_grid_width;

  const bool aligned = all_multiples(k_width<T>, s.o, s.og()) && all_multiples(widest<T>, s.cg()) && at_16(dz),
             vectors = all_multiples(widest<T>, s.c, s.cg()) && at_16(dx);
  const GemmPlan plan = plan_gemm(s.groups, a.rows, s.cg(), a.depth, aligned);
  const Tensor partial =
      plan.splits > 1 ? Tensor::empty({s.groups * plan.splits, a.rows, s.cg()}, DType::f32, Device::cuda) : Tensor();
  const Result<T, PhaseRows> result{
      elements<T>(dx), nullptr, nullptr, elements<float>(partial), Activation::none, a.rows, static_cast<int>(s.cg()),
      vectors,         place,   0};
  launch_gemm<true, false>("conv_backward_data", a, b, result, s.groups, plan, aligned);
  if (plan.splits > 1) launch_gemm_sum(result, s.groups, plan.splits);
}

template <class T> void backward_weights_gemm(const Tensor& x, const Tensor& dz, const Tensor& dw, const ConvSizes& s) {
  if (few_channels<T>(s) && s.o % widest<T> == 0) {
    const Tensor wide = Tensor::empty({s.o, wide_channels, s.kh, s.kw}, dw.dtype(), Device::cuda);
    backward_weights_gemm<T>(wide_images<T>(x, s), dz, wide, widened(s));
    const int64_t tap_bytes = s.kh * s.kw * static_cast<int64_t>(sizeof(T));
    return copy_runs_cuda(dw.raw(), s.c * tap_bytes, wide.raw(), wide_channels * tap_bytes, s.o, s.c * tap_bytes);
  }
  const TransposedPatches<T> b(patches<T>(x, s));
  const int columns = b.patches.depth;
  const MatrixOperand<T, false> a{elements<T>(dz), s.og(), static_cast<int>(s.o), static_cast<int>(s.og()), b.depth};
  const bool aligned = all_multiples(widest<T>, s.o, s.og(), s.c, s.cg()) && at_16(x) && at_16(dz);
  const GemmPlan plan = plan_gemm(s.groups, s.og(), columns, b.depth, aligned);
  const Tensor partial = Tensor::empty({s.groups * plan.splits, s.og(), columns}, DType::f32, Device::cuda);
  const Result<T, MatrixRows> result{
      nullptr,          nullptr, nullptr, elements<float>(partial), Activation::none, static_cast<int>(s.og()), columns,
      columns % 8 == 0, {0, 0},  0};
  launch_gemm<false, false>("conv_backward_weights", a, b, result, s.groups, plan, aligned);
  const TurnTile tile(s.o, s.cg(), s.kh * s.kw);
  launch("conv_weights_sum", unpack_sum_kernel<float, T>, tile.grid(), TurnTile::threads, tile.shared(),
         elements<float>(partial), elements<T>(dw), tile, static_cast<int>(s.og()), plan.splits);
}

// Whether kernels/device/grouped_conv.cuh has a kernel for it.
bool small_groups(const ConvSizes& s, const Tensor& x) {
  const int64_t g = s.cg();
  return s.groups > 1 && s.c == s.o && (g == 4 || g == 8 || g == 16) && s.kh == 3 && s.kw == 3 && s.stride <= 2 &&
         at_16(x);
}

template <class F> void with_group(int64_t group, F&& f) {
  switch (group) {
    case 4: return f.template operator()<4>();
    case 8: return f.template operator()<8>();
    default: return f.template operator()<16>();
  }
}

template <class T, int Step, int Taps>
void correlate(const char* name, const T* x, const float* table, const T* bias, bool relu, T* y,
               const grouped::Sizes& sizes, int64_t group) {
  with_group(group, [&]<int G> {
    const int quads = std::min(sizes.channels / 4, 128 / G), slots = grouped::threads / quads;
    const int64_t runs =
        static_cast<int64_t>(sizes.n) * sizes.grid_height * ceil_div(sizes.grid_width, grouped::pixels<Step>);
    const int64_t strips = ceil_div(sizes.channels / 4, quads);
    // Enough blocks for every multiprocessor to hold eight; beyond that a block takes several runs a thread.
    const int64_t most = std::max<int64_t>(1, 8 * cuda::properties().multiprocessors / strips);
    const dim3 grid(static_cast<unsigned>(strips),
                    static_cast<unsigned>(std::min(ceil_div<int64_t>(runs, slots), std::min<int64_t>(most, 65535))));
    launch(name, grouped::correlate_kernel<T, G, Step, Taps>, grid, grouped::threads,
           sizeof(float) * Taps * Taps * G * 4 * quads, x, table, bias, relu, y, sizes, quads);
  });
}

template <class T> Tensor table(const Tensor& w, const ConvSizes& s, int taps, bool forward, int64_t y, int64_t x) {
  const Tensor result = Tensor::empty({taps * taps, s.cg(), s.c}, DType::f32, Device::cuda);
  launch("grouped_table", grouped::table_kernel<T>, grouped::turn_grid(s.c, s.cg()), grouped::threads,
         grouped::turn_shared(s.cg()), elements<T>(w), elements<float>(result), static_cast<int>(s.c),
         static_cast<int>(s.cg()), taps, forward, static_cast<int>(s.stride), static_cast<int>(y),
         static_cast<int>(x));
  return result;
}

template <class T>
void forward_grouped(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y,
                     const ConvSizes& s) {
  const Tensor weights = table<T>(w, s, 3, true, 0, 0);
  const int origin = -static_cast<int>(s.padding), oh = s.oh, ow = s.ow;
  const grouped::Sizes sizes{static_cast<int>(s.n),
                             static_cast<int>(s.c),
                             static_cast<int>(s.h),
                             static_cast<int>(s.w),
                             origin,
                             origin,
                             oh,
                             ow,
                             oh,
                             ow,
                             0,
                             0,
                             1};
  const auto start = [&]<int Step> {
    correlate<T, Step, 3>("grouped_forward", elements<T>(x), elements<float>(weights), elements<T>(bias), relu,
                          elements<T>(y), sizes, s.cg());
  };
  s.stride == 1 ? start.template operator()<1>() : start.template operator()<2>();
}

// Phases as above; a phase of stride 2 has at most 2 x 2 taps, the table gives zeros for those that it lacks.
template <class T> void backward_data_grouped(const Tensor& dz, const Tensor& w, const Tensor& dx, const ConvSizes& s) {
  const int taps = s.stride == 1 ? 3 : 2;
  for (int64_t phase = 0; phase < s.stride * s.stride; ++phase) {
    const int64_t py = phase / s.stride, px = phase % s.stride;
    const int i = (py + s.padding) % s.stride, j = (px + s.padding) % s.stride;
    const auto origin = [&](int first) { return static_cast<int>((first + s.padding) / s.stride) - (taps - 1); };
    const auto count = [&](int64_t extent, int first) {
      return static_cast<int>(std::max<int64_t>(ceil_div<int64_t>(extent - first, s.stride), 0));
    };
    const grouped::Sizes sizes{static_cast<int>(s.n),
                               static_cast<int>(s.c),
                               static_cast<int>(s.oh),
                               static_cast<int>(s.ow),
                               origin(i),
                               origin(j),
                               count(s.h, i),
                               count(s.w, j),
                               static_cast<int>(s.h),
                               static_cast<int>(s.w),
                               i,
                               j,
                               static_cast<int>(s.stride)};
    if (sizes.grid_height == 0 || sizes.grid_width == 0) continue;
    const Tensor weights = table<T>(w, s, taps, false, py, px);
    const auto start = [&]<int Taps> {
      correlate<T, 1, Taps>("grouped_backward_data", elements<T>(dz), elements<float>(weights), nullptr, false,
                            elements<T>(dx), sizes, s.cg());
    };
    taps == 3 ? start.template operator()<3>() : start.template operator()<2>();
  }
}

template <class T>
void backward_weights_grouped(const Tensor& x, const Tensor& dz, const Tensor& dw, const ConvSizes& s) {
  const int64_t all_pairs = s.c / 4 * (s.cg() / 4), pairs = std::min<int64_t>(all_pairs, 128),
                slots = grouped::threads / pairs, strips = ceil_div(all_pairs, pairs), rows = s.n * s.oh;
  // As many pieces as fill the GPU twice; they are added up afterwards.
  const int64_t wanted = 2 * cuda::properties().multiprocessors * slots / (3 * strips) + 1;
  const int pieces = static_cast<int>(std::clamp<int64_t>(rows / 4, 1, wanted));
  const Tensor partial = Tensor::empty({pieces, 9, s.cg(), s.c}, DType::f32, Device::cuda);
  const dim3 grid(static_cast<unsigned>(strips), static_cast<unsigned>(ceil_div<int64_t>(pieces, slots)), 3);
  with_group(s.cg(), [&]<int G> {
    const auto start = [&]<int Step> {
      launch("grouped_backward_weights", grouped::weights_kernel<T, G, Step>, grid, grouped::threads, 0, elements<T>(x),
             elements<T>(dz), elements<float>(partial), static_cast<int>(s.n), static_cast<int>(s.h),
             static_cast<int>(s.w), static_cast<int>(s.c), static_cast<int>(s.oh), static_cast<int>(s.ow),
             static_cast<int>(s.padding), static_cast<int>(pairs), pieces);
    };
    s.stride == 1 ? start.template operator()<1>() : start.template operator()<2>();
  });
  launch("grouped_weights_sum", grouped::sum_kernel<T>, grouped::turn_grid(s.c, s.cg()), grouped::threads,
         grouped::turn_shared(s.cg()), elements<float>(partial), elements<T>(dw), static_cast<int>(s.c),
         static_cast<int>(s.cg()), pieces);
}

// Pixels and elements of a row of patches are counted in 31 bits.
void check_sizes(const ConvSizes& s) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max() - 256;
  check(s.n * std::max(s.oh * s.ow, s.h * s.w) <= most && s.kh * s.kw * std::max(s.c, s.o) <= most &&
            s.groups <= most_matrices,
        "[conv2d] at most 2^31 pixels, products a sum and 65535 groups fit device cuda");
}

// y = act(y + bias), one thread an element: what cuDNN leaves to do.
template <class T> __global__ void bias_kernel(T* y, const T* bias, bool relu, int64_t count, int channels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float z = to_float(y[i]) + (bias ? to_float(bias[i % channels]) : 0.0f);
  y[i] = from_float<T>(relu && z < 0 ? 0.0f : z);
}

template <class T>
void forward_cudnn(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y,
                   const ConvSizes& s) {
  conv_cudnn(ConvPass::forward, x, packed<T>(w, s), y, s);
  if (!bias && !relu) return;
  launch("conv_bias", bias_kernel<T>, grid_of(y.numel(), block), block, 0, elements<T>(y), elements<T>(bias), relu,
         y.numel(), static_cast<int>(s.o));
}

template <class T>
void backward_weights_cudnn(const Tensor& x, const Tensor& dz, const Tensor& dw, const ConvSizes& s) {
  const Tensor result = empty_like(dw);
  conv_cudnn(ConvPass::weights, x, result, dz, s);
  const TurnTile tile(s.o, s.cg(), s.kh * s.kw);
  launch("conv_unpack", unpack_sum_kernel<T, T>, tile.grid(), TurnTile::threads, tile.shared(), elements<T>(result),
         elements<T>(dw), tile, static_cast<int>(s.o), 1);
}

struct KeepPositive {
  __device__ float operator()(float y, float dy) const { return y <= 0 ? 0.0f : dy; }
};

}  // namespace

void conv2d_forward_cuda(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y,
                         const ConvSizes& s) {
  check_sizes(s);
  on_float(x.dtype(), [&]<class T> {
    if (conv_door() == ConvDoor::cudnn) return forward_cudnn<T>(x, w, bias, relu, y, s);
    small_groups(s, x) ? forward_grouped<T>(x, w, bias, relu, y, s) : forward_gemm<T>(x, w, bias, relu, y, s);
  });
}

void conv2d_backward_data_cuda(const Tensor& dz, const Tensor& w, const Tensor& dx, const ConvSizes& s) {
  check_sizes(s);
  on_float(dz.dtype(), [&]<class T> {
    if (conv_door() == ConvDoor::cudnn) return conv_cudnn(ConvPass::data, dx, packed<T>(w, s), dz, s);
    if (small_groups(s, dz)) return backward_data_grouped<T>(dz, w, dx, s);
    const Tensor weights = packed<T>(w, s);
    for (int64_t phase = 0; phase < s.stride * s.stride; ++phase)
      backward_data_phase<T>(dz, weights, dx, s, phase / s.stride, phase % s.stride);
  });
}

void conv2d_backward_weights_cuda(const Tensor& x, const Tensor& dz, const Tensor& dw, const ConvSizes& s) {
  check_sizes(s);
  on_float(x.dtype(), [&]<class T> {
    if (conv_door() == ConvDoor::cudnn) return backward_weights_cudnn<T>(x, dz, dw, s);
    small_groups(s, x) && at_16(dz) ? backward_weights_grouped<T>(x, dz, dw, s)
                                    : backward_weights_gemm<T>(x, dz, dw, s);
  });
}

void relu_mask_cuda(const Tensor& y, const Tensor& dy, const Tensor& dz) {
  on_float(y.dtype(), [&]<class T> {
    map_cuda("relu_mask", KeepPositive{}, elements<T>(dz), dz.numel(), elements<const T>(y), elements<const T>(dy));
  });
}

void fold_batch_norm_cuda(const Tensor& weight, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                          const Tensor& var, double eps, const Tensor& folded, const Tensor& bias) {
  const int64_t count = weight.numel(), inner = count / std::max<int64_t>(weight.dim(0), 1);
  on_float(weight.dtype(), [&]<class T> {
    launch("fold_batch_norm", fold_kernel<T>, grid_of(count, block), block, 0, elements<T>(weight),
           elements<float>(gamma), elements<float>(beta), elements<float>(mean), elements<float>(var),
           static_cast<float>(eps), elements<T>(folded), elements<T>(bias), count, inner);
  });
}

}  // namespace weft
