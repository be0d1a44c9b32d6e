// Loss and dL/dlogits in one pass over the logits: see cross_entropy.cc for the formulas.
// Thread mapping: a warp takes a row of up to 4 KiB, a block a longer one; the rows' losses are summed after.
// Napkin maths: 8 bytes a logit in f32 (one read, one write), 4 where no gradient is wanted; [8192, 32768] takes 640 us
// at 3.35 TB/s.
#include "kernels/device/row.cuh"
#include "tensor/cuda_elements.h"

namespace weft {

namespace {

struct Weighting {
  float label, spread;  // 1 - e and e / C
  float classes;  // the sum of all class weights
  int64_t ignore_index;
};

// losses[b] is row b's share of the loss; weights and dx may be null. *batch is the sum of the class weights over the
// batch's labels.
template <class T, int V, Team team, bool kept>
__global__ void cross_entropy_rows(const T* x, const int64_t* labels, const float* weights, const float* batch, T* dx,
                                   float* losses, int64_t rows, int64_t classes, Weighting w) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * team_count<team>() + team_index<team>();
  if (r >= rows) return;
  const Row<T, V, team, kept> row(x + r * classes, classes);
  const int64_t label = labels[r];
  const bool first = team_lane<team>() == 0;
  float top = -INFINITY, others = 0, smooth = 0;
  row.read([&](float v, int64_t) { top = fmaxf(top, v); });
  if (label == w.ignore_index) {
    if (first) losses[r] = 0;
    if (dx) row.write(dx + r * classes, [](float, int64_t) { return 0.0f; });
    return;
  }
  top = team_max<team>(top);
  const auto weight = [=](int64_t c) { return weights ? weights[c] : 1.0f; };
  // The label's own term is left out of the sum, so that 1 - p keeps its digits where p is nearly 1.
  row.again([&](float v, int64_t c) {
    others += c == label ? 0.0f : expf(v - top);
    if (w.spread > 0) smooth += weight(c) * (v - top);
  });
  others = team_sum<team>(others);
  if (w.spread > 0) smooth = team_sum<team>(smooth);
  const float whole = *batch, x_label = to_float(x[r * classes + label]) - top;
  const float sum = others + expf(x_label), log_sum = logf(sum);
  const float of_label = w.label * weight(label);
  if (first) losses[r] = (of_label * (log_sum - x_label) + w.spread * (w.classes * log_sum - smooth)) / whole;
  if (!dx) return;
  const float a = of_label / (whole * sum), spread = w.spread / whole, b = spread * w.classes / sum;
  row.write(dx + r * classes, [=](float v, int64_t c) {
    const float e = expf(v - top);
    return (c == label ? -others : e) * a + (e * b - spread * weight(c));
  });
}

// One element a thread; nothing is moved where the factor is 1, as it is when the loss is what backward() starts from.
template <class T> __global__ void scale_by(T* x, const float* factor, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n && *factor != 1) x[i] = from_float<T>(to_float(x[i]) * *factor);
}

}  // namespace

// labels lie in range; class_weights and dlogits may be undefined. loss [] and batch_weight [] f32. The weights are the
// sums that cross_entropy.cc took.
void cross_entropy_cuda(const Tensor& logits, const Tensor& labels, const Tensor& class_weights, double label_smoothing,
                        int64_t ignore_index, const Tensor& batch_weight, double classes_weight, const Tensor& dlogits,
                        const Tensor& loss) {
  const int64_t rows = logits.rows(), classes = logits.cols();
  const Tensor losses = Tensor::empty({rows}, DType::f32, Device::cuda);
  const Weighting w{static_cast<float>(1 - label_smoothing),
                    static_cast<float>(label_smoothing / static_cast<double>(classes)),
                    static_cast<float>(classes_weight), ignore_index};
  on_float(logits.dtype(), [&]<class T> {
    const RowPlan plan(classes, sizeof(T), 1);
    on_width<T>(fits_packs(elements<T>(logits), classes) && fits_packs(elements<T>(dlogits), classes), [&]<int V> {
      on_plan(plan, [&]<Team team, bool kept> {
        launch("cross_entropy_rows", cross_entropy_rows<T, V, team, kept>, grid_of(rows, plan.teams), plan.block,
               plan.shared, elements<T>(logits), elements<int64_t>(labels), elements<float>(class_weights),
               elements<float>(batch_weight), elements<T>(dlogits), elements<float>(losses), rows, classes, w);
      });
    });
  });
  AxisSums axes;
  axes.summed.push_back(rows, 1);
  sum_axes_cuda(losses, loss, axes);
}

void cross_entropy_backward_cuda(const Tensor& dlogits, const Tensor& dloss) {
  on_float(dlogits.dtype(), [&]<class T> {
    launch("scale_by", scale_by<T>, grid_of(dlogits.numel(), 256), dim3(256), 0, elements<T>(dlogits),
           elements<float>(dloss), dlogits.numel());
  });
}

}  // namespace weft
