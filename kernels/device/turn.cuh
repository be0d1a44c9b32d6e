// Weights [O, C, taps], as files have them, turned to [O, taps, C] and back. One side steps by the taps whichever way
// threads lie; so a block turns a tile in shared memory, and both sides move whole sectors.
// Block: 256 threads, some neighbouring outputs, or a strip of one output's channels. Napkin maths: each element is
// read and written once; 16 x 3 x 7 x 7 up to 512 x 512 x 3 x 3 is 10 KB to 9 MB, microseconds.
#pragma once

#include "kernels/device/launch.cuh"

namespace weft {

struct TurnTile {
  int outputs, channels, taps;
  int outputs_each, channels_each;  // of a block; all channels unless one output alone
  static constexpr int threads = 256;
  static constexpr int elements_each = 2048;

  TurnTile(int64_t o, int64_t c, int64_t t)
      : outputs(static_cast<int>(o)), channels(static_cast<int>(c)), taps(static_cast<int>(t)) {
    const int strip = std::max(1, elements_each / taps);
    channels_each = std::min(channels, strip >= 16 ? strip / 16 * 16 : strip);  // 16 bf16 are a sector
    outputs_each = channels_each < channels ? 1 : std::max(1, elements_each / (channels * taps));
  }
  dim3 grid() const {
    return dim3(static_cast<unsigned>(ceil_div(outputs, outputs_each)),
                static_cast<unsigned>(ceil_div(channels, channels_each)));
  }
  size_t shared() const { return sizeof(float) * outputs_each * channels_each * taps; }

  /// Calls f(place in the tile, output, channel, tap) for every element, neighbouring threads along the taps of a
  /// channel, or along the channels of a tap.
  template <bool along_taps, class F> __device__ void each(F&& f) const {
    const int o0 = blockIdx.x * outputs_each, c0 = blockIdx.y * channels_each;
    const int wide = min(channels_each, channels - c0), count = min(outputs_each, outputs - o0) * wide * taps;
    for (int i = threadIdx.x; i < count; i += threads) {
      const int o = i / (wide * taps), rest = i % (wide * taps);
      const int c = along_taps ? rest / taps : rest % wide, tap = along_taps ? rest % taps : rest / wide;
      f((o * wide + c) * taps + tap, o0 + o, c0 + c, tap);
    }
  }
};

/// [O, C, taps] -> [O, taps, C].
template <class T> __global__ void pack_kernel(const T* w, T* packed, TurnTile t) {
  extern __shared__ float tile[];
  t.each<true>([&](int at, int64_t o, int c, int tap) {
    tile[at] = to_float(w[(o * t.channels + c) * t.taps + tap]);
  });
  __syncthreads();
  t.each<false>([&](int at, int64_t o, int c, int tap) {
    packed[(o * t.taps + tap) * t.channels + c] = from_float<T>(tile[at]);
  });
}

/// [group][split][O / groups][taps, C] -> [O, C, taps], the splits added in order.
template <class In, class T>
__global__ void unpack_sum_kernel(const In* partial, T* dw, TurnTile t, int group_outputs, int splits) {
  extern __shared__ float tile[];
  const int64_t row = static_cast<int64_t>(t.taps) * t.channels, part = row * group_outputs;
  t.each<false>([&](int at, int64_t o, int c, int tap) {
    const In* from =
        partial + o / group_outputs * part * splits + o % group_outputs * row + tap * t.channels + c;
    float sum = 0;
    for (int s = 0; s < splits; ++s) sum += to_float(from[s * part]);
    tile[at] = sum;
  });
  __syncthreads();
  t.each<true>([&](int at, int64_t o, int c, int tap) {
    dw[(o * t.channels + c) * t.taps + tap] = from_float<T>(tile[at]);
  });
}

}  // namespace weft
