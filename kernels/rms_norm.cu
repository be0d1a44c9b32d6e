// y = x rstd weight: see rms_norm.cc for the formulas.
// Thread mapping: a team (a warp for short rows, else a block) takes a row; in the backward a team walks over several
// rows and keeps the sums for dweight in shared memory, which a second, small kernel adds up over the blocks. Napkin
// maths: forward moves 8 bytes an element in f32, backward 12 (x, dy, dx), and 8 bytes a column and block for dweight:
// at most 512 blocks, 1.5 % at 32,768 rows.
#include "kernels/device/row.cuh"
#include "tensor/cuda_elements.h"

namespace weft {

namespace {

template <class T, int V, Team team, bool kept>
__global__ void rms_norm_forward(const T* x, const float* weight, T* y, float* rstd, int64_t rows, int64_t cols,
                                 float eps) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * team_count<team>() + team_index<team>();
  if (r >= rows) return;
  const Row<T, V, team, kept> row(x + r * cols, cols);
  float squares = 0;
  row.read([&](float v, int64_t) { squares += v * v; });
  const float scale = 1 / sqrtf(team_sum<team>(squares) / cols + eps);
  row.write(y + r * cols, [=](float v, int64_t, float w) { return v * scale * w; }, Columns{weight});
  if (team_lane<team>() == 0) rstd[r] = scale;
}

// dx may be null. `dweight` [blocks, cols] gets each block's sums.
template <class T, int V, Team team, bool kept>
__global__ void rms_norm_backward(const T* x, const float* weight, const float* rstd, const T* dy, T* dx,
                                  float* dweight, int64_t rows, int64_t cols) {
  const int teams = team_count<team>();
  ColumnSums<V, team> dw(kept ? 2 * teams * Row<T, V, team, kept>::pitch(cols) : 0, cols, 0, 1);
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * teams + team_index<team>(); r < rows;
       r += static_cast<int64_t>(gridDim.x) * teams) {
    const Row<T, V, team, kept> xr(x + r * cols, cols, 0, 2), gr(dy + r * cols, cols, 1, 2);
    const float scale = rstd[r];
    float dot = 0;  // of h = dy weight and x
    xr.read([](float, int64_t) {});
    gr.read([&](float g, int64_t c, float x, float w) {
      dw.add(c, g * x * scale);
      dot += g * x * w;
    }, xr, Columns{weight});
    const float slope = team_sum<team>(dot) * scale * scale * scale / cols;
    if (dx)
      gr.write(
          dx + r * cols, [=](float g, int64_t, float x, float w) { return g * w * scale - x * slope; }, xr,
          Columns{weight});
  }
  dw.write(dweight + blockIdx.x * cols);
}

}  // namespace

void rms_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor& rstd, double eps) {
  on_float(x.dtype(), [&]<class T> {
    const int64_t rows = x.rows(), cols = x.cols();
    const RowPlan plan(cols, sizeof(T), 1);
    on_width_beside_f32<T>(
        cols,
        [&]<int V> {
          on_plan(plan, [&]<Team team, bool kept> {
            launch("rms_norm_forward", rms_norm_forward<T, V, team, kept>, grid_of(rows, plan.teams), plan.block,
                   plan.shared, elements<T>(x), elements<float>(weight), elements<T>(y), elements<float>(rstd), rows,
                   cols, static_cast<float>(eps));
          });
        },
        elements<T>(x), elements<T>(y), elements<float>(weight));
  });
}

// dx and dweight may be undefined.
void rms_norm_backward_cuda(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                            const Tensor& dx, const Tensor& dweight) {
  on_float(x.dtype(), [&]<class T> {
    const int64_t rows = x.rows(), cols = x.cols();
    const RowPlan plan(cols, sizeof(T), 2, 1);
    const int64_t pieces = row_pieces(rows, plan);
    const Tensor sums = Tensor::empty({pieces, cols}, DType::f32, Device::cuda);
    on_width_beside_f32<T>(
        cols,
        [&]<int V> {
          on_plan(plan, [&]<Team team, bool kept> {
            launch("rms_norm_backward", rms_norm_backward<T, V, team, kept>, dim3(pieces), plan.block, plan.shared,
                   elements<T>(x), elements<float>(weight), elements<float>(rstd), elements<T>(dy), elements<T>(dx),
                   elements<float>(sums), rows, cols);
          });
        },
        elements<T>(x), elements<T>(dy), elements<T>(dx), elements<float>(weight));
    if (dweight.defined()) sum_rows_cuda(sums, dweight);
  });
}

}  // namespace weft
