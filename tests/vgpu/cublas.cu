// Matrix products through cuBLAS's stand-in: column-major, leading dimensions, transposes, batches, types, beta.
#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <cmath>

#include "check.h"

#define BLAS(call) EXPECT((call) == CUBLAS_STATUS_SUCCESS)

struct Matrix {
  int rows, columns, ld;
  std::vector<float> values;

  Matrix(int rows, int columns, int ld, int seed) : rows(rows), columns(columns), ld(ld), values(ld * columns) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>((i * 7 + seed * 13) % 17) / 8.0f - 1;
  }
  float at(int row, int column, bool transposed) const {
    return transposed ? values[column + row * ld] : values[row + column * ld];
  }
};

template <class T>
std::vector<T> as(const std::vector<float>& values) {
  return std::vector<T>(values.begin(), values.end());
}

template <class T, class C>
void check_product(cublasHandle_t handle, cudaDataType type, cudaDataType c_type, int m, int n, int k, bool ta, bool tb,
                   float alpha, float beta, double tolerance) {
  Matrix a(ta ? k : m, ta ? m : k, (ta ? k : m) + 3, 1), b(tb ? n : k, tb ? k : n, (tb ? n : k) + 1, 2),
      c(m, n, m + 5, 3);
  DeviceArray<T> da(as<T>(a.values)), db(as<T>(b.values));
  DeviceArray<C> dc(as<C>(c.values));
  BLAS(cublasGemmEx(handle, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha, da.data,
                    type, a.ld, db.data, type, b.ld, &beta, dc.data, c_type, c.ld, CUBLAS_COMPUTE_32F,
                    CUBLAS_GEMM_DEFAULT));
  std::vector<C> result = dc.host();
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < c.ld; ++i) {
      double want = c.values[i + j * c.ld];
      if (i < m) {
        double sum = 0;
        for (int p = 0; p < k; ++p) sum += double(a.at(i, p, ta)) * b.at(p, j, tb);
        want = alpha * sum + beta * want;
      }
      EXPECT(std::abs(double(float(result[i + j * c.ld])) - want) <= tolerance * (1 + std::abs(want)));
    }
  }
}

int main() {
  cublasHandle_t handle;
  BLAS(cublasCreate(&handle));
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  BLAS(cublasSetStream(handle, stream));
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      check_product<float, float>(handle, CUDA_R_32F, CUDA_R_32F, 33, 17, 40, ta, tb, 1, 0, 1e-5);
      check_product<float, float>(handle, CUDA_R_32F, CUDA_R_32F, 5, 64, 1, ta, tb, 0.5f, 2, 1e-5);
      check_product<__nv_bfloat16, __nv_bfloat16>(handle, CUDA_R_16BF, CUDA_R_16BF, 20, 9, 31, ta, tb, 1, 1, 1.0 / 128);
      check_product<__nv_bfloat16, float>(handle, CUDA_R_16BF, CUDA_R_32F, 20, 9, 31, ta, tb, 1, 0, 1e-5);
    }
  }

  // A batch, and TF32: operands keep 10 bits of their mantissa.
  const int m = 4, batch = 3;
  std::vector<float> x(m * m * batch), identity(m * m, 0.0f);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1 + i / 4096.0f;
  for (int i = 0; i < m; ++i) identity[i * m + i] = 1;
  DeviceArray<float> dx(x), di(identity), dy(x.size());
  const float one = 1, zero = 0;
  BLAS(cublasSgemmStridedBatched(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &one, dx.data, m, m * m, di.data, m, 0,
                                 &zero, dy.data, m, m * m, batch));
  EXPECT(dy.host() == x);
  BLAS(cublasSetMathMode(handle, CUBLAS_TF32_TENSOR_OP_MATH));
  BLAS(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &one, dx.data, m, di.data, m, &zero, dy.data, m));
  EXPECT(dy.host()[1] == 1.0f && dy.host()[2] == 1 + 1 / 1024.0f && dy.host()[4] == 1 + 1 / 1024.0f);

  // A product that is captured runs when the graph does.
  CUDA(cudaMemset(dy.data, 0, dy.bytes));
  BLAS(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  BLAS(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &one, dx.data, m, di.data, m, &zero, dy.data, m));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA(cudaStreamEndCapture(stream, &graph));
  EXPECT(dy.host()[0] == 0);
  CUDA(cudaGraphInstantiate(&exec, graph, 0));
  CUDA(cudaGraphLaunch(exec, stream));
  CUDA(cudaStreamSynchronize(stream));
  EXPECT(dy.host()[3] == x[3]);
  CUDA(cudaGraphExecDestroy(exec));
  CUDA(cudaGraphDestroy(graph));

  // With alpha 0 the factors are not looked at.
  BLAS(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &zero, nullptr, m, nullptr, m, &zero, dy.data, m));
  EXPECT(dy.host()[5] == 0);
  EXPECT(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, m, m, &one, dx.data, m - 1, di.data, m, &zero, dy.data, m) ==
         CUBLAS_STATUS_INVALID_VALUE);
  BLAS(cublasDestroy(handle));
  CUDA(cudaStreamDestroy(stream));
  return ok();
}
