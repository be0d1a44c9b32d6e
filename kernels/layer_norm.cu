// y = xhat weight + bias: see layer_norm.cc for the formulas. As there, rows are taken relative to their first element,
// so that a large mean costs no digits; `mean` is relative to it too. The variance is that of a second pass over the
// row. Thread mapping: a team (a warp for short rows, else a block) takes a row; in the backward a team walks over
// several rows and keeps the sums for dweight and dbias in shared memory, which a second, small kernel adds up over the
// blocks. Napkin maths: forward moves 8 bytes an element in f32, backward 12 (x, dy, dx), and 16 bytes a column and
// block for the parameters: at most 512 blocks, 2 % at 32,768 rows.
#include "kernels/device/row.cuh"
#include "tensor/cuda_elements.h"

namespace weft {

namespace {

template <class T, int V, Team team, bool kept>
__global__ void layer_norm_forward(const T* x, const float* weight, const float* bias, T* y, float* mean, float* rstd,
                                   int64_t rows, int64_t cols, float eps) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * team_count<team>() + team_index<team>();
  if (r >= rows) return;
  const Row<T, V, team, kept> row(x + r * cols, cols);
  const float origin = to_float(x[r * cols]);
  float sum = 0, squares = 0;
  row.read([&](float v, int64_t) { sum += v - origin; });
  const float centre = team_sum<team>(sum) / cols;
  row.again([&](float v, int64_t) { squares += (v - origin - centre) * (v - origin - centre); });
  const float scale = 1 / sqrtf(team_sum<team>(squares) / cols + eps);
  row.write(
      y + r * cols, [=](float v, int64_t, float w, float b) { return (v - origin - centre) * scale * w + b; },
      Columns{weight}, Columns{bias});
  if (team_lane<team>() == 0) {
    mean[r] = centre;
    rstd[r] = scale;
  }
}

// dx may be null. `sums` [2, blocks, cols] gets each block's sums for dweight and for dbias.
template <class T, int V, Team team, bool kept>
__global__ void layer_norm_backward(const T* x, const float* weight, const float* mean, const float* rstd, const T* dy,
                                    T* dx, float* sums, int64_t rows, int64_t cols) {
  const int teams = team_count<team>();
  const int64_t kept_words = kept ? 2 * teams * Row<T, V, team, kept>::pitch(cols) : 0;
  ColumnSums<V, team> dw(kept_words, cols, 0, 2), db(kept_words, cols, 1, 2);
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * teams + team_index<team>(); r < rows;
       r += static_cast<int64_t>(gridDim.x) * teams) {
    const Row<T, V, team, kept> xr(x + r * cols, cols, 0, 2), gr(dy + r * cols, cols, 1, 2);
    const float origin = to_float(x[r * cols]), centre = mean[r], scale = rstd[r];
    float sum = 0, dot = 0;  // of h = dy weight, and of h and the deviation
    xr.read([](float, int64_t) {});
    gr.read([&](float g, int64_t c, float x, float w) {
      const float d = x - origin - centre, h = g * w;
      dw.add(c, g * (d * scale));
      db.add(c, g);
      sum += h;
      dot += h * d;
    }, xr, Columns{weight});
    const float offset = team_sum<team>(sum) / cols, slope = team_sum<team>(dot) * scale * scale / cols;
    if (!dx) continue;
    gr.write(
        dx + r * cols,
        [=](float g, int64_t, float x, float w) { return scale * (g * w - offset - (x - origin - centre) * slope); },
        xr, Columns{weight});
  }
  dw.write(sums + blockIdx.x * cols);
  db.write(sums + (gridDim.x + blockIdx.x) * cols);
}

}  // namespace

void layer_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y,
                             const Tensor& mean, const Tensor& rstd, double eps) {
  const int64_t rows = x.rows(), cols = x.cols();
  if (cols == 0) return;
  on_float(x.dtype(), [&]<class T> {
    const RowPlan plan(cols, sizeof(T), 1);
    on_width_beside_f32<T>(
        cols,
        [&]<int V> {
          on_plan(plan, [&]<Team team, bool kept> {
            launch("layer_norm_forward", layer_norm_forward<T, V, team, kept>, grid_of(rows, plan.teams), plan.block,
                   plan.shared, elements<T>(x), elements<float>(weight), elements<float>(bias), elements<T>(y),
                   elements<float>(mean), elements<float>(rstd), rows, cols, static_cast<float>(eps));
          });
        },
        elements<T>(x), elements<T>(y), elements<float>(weight), elements<float>(bias));
  });
}

// dx, dweight and dbias may be undefined.
void layer_norm_backward_cuda(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                              const Tensor& dy, const Tensor& dx, const Tensor& dweight, const Tensor& dbias) {
  const int64_t rows = x.rows(), cols = x.cols();
  if (cols == 0) return;
  on_float(x.dtype(), [&]<class T> {
    const RowPlan plan(cols, sizeof(T), 2, 2);
    const int64_t pieces = row_pieces(rows, plan);
    const Tensor sums = Tensor::empty({2, pieces, cols}, DType::f32, Device::cuda);
    on_width_beside_f32<T>(
        cols,
        [&]<int V> {
          on_plan(plan, [&]<Team team, bool kept> {
            launch("layer_norm_backward", layer_norm_backward<T, V, team, kept>, dim3(pieces), plan.block, plan.shared,
                   elements<T>(x), elements<float>(weight), elements<float>(mean), elements<float>(rstd),
                   elements<T>(dy), elements<T>(dx), elements<float>(sums), rows, cols);
          });
        },
        elements<T>(x), elements<T>(dy), elements<T>(dx), elements<float>(weight));
    if (dweight.defined()) sum_rows_cuda(sums.leading(0, 1).reshape({pieces, cols}), dweight);
    if (dbias.defined()) sum_rows_cuda(sums.leading(1, 2).reshape({pieces, cols}), dbias);
  });
}

}  // namespace weft
