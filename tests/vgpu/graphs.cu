// Stream capture with a fork and a join, instantiation, launches, updates, and what may not be done while capturing.
#include "check.h"

__global__ void scale(float* x, int n, float by) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= by;
}

__global__ void sum(const float* a, const float* b, float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}

const int n = 1000;

cudaGraph_t capture(cudaStream_t stream, cudaStream_t side, const float* in, float* a, float* b, float* c, float* out,
                    float by) {
  cudaEvent_t fork, join;
  CUDA(cudaEventCreate(&fork));
  CUDA(cudaEventCreate(&join));
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CUDA(cudaMemcpyAsync(a, in, n * sizeof(float), cudaMemcpyHostToDevice, stream));
  CUDA(cudaEventRecord(fork, stream));
  CUDA(cudaStreamWaitEvent(side, fork, 0));
  CUDA(cudaMemsetAsync(b, 0, n * sizeof(float), side));
  CUDA(cudaEventRecord(join, side));
  scale<<<4, 256, 0, stream>>>(a, n, by);
  CUDA(cudaStreamWaitEvent(stream, join, 0));
  sum<<<4, 256, 0, stream>>>(a, b, c, n);
  CUDA(cudaMemcpyAsync(out, c, n * sizeof(float), cudaMemcpyDeviceToHost, stream));
  cudaStreamCaptureStatus status;
  CUDA(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusActive);
  cudaGraph_t graph;
  CUDA(cudaStreamEndCapture(stream, &graph));
  CUDA(cudaEventDestroy(fork));
  CUDA(cudaEventDestroy(join));
  return graph;
}

int main() {
  cudaStream_t stream, side;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
  float *in, *out;
  CUDA(cudaMallocHost(&in, n * sizeof(float)));
  CUDA(cudaMallocHost(&out, n * sizeof(float)));
  {
    DeviceArray<float> a(n), b(n), c(n);
    for (int i = 0; i < n; ++i) in[i] = i, out[i] = -1;
    cudaGraph_t graph = capture(stream, side, in, a.data, b.data, c.data, out, 2);
    EXPECT(out[1] == -1);  // nothing has run yet
    size_t count = 0;
    CUDA(cudaGraphGetNodes(graph, nullptr, &count));
    EXPECT(count == 5);
    cudaGraphExec_t exec;
    CUDA(cudaGraphInstantiate(&exec, graph, 0));
    CUDA(cudaGraphDestroy(graph));
    for (int launch = 0; launch < 3; ++launch) {
      for (int i = 0; i < n; ++i) in[i] = i + launch;
      CUDA(cudaGraphLaunch(exec, stream));
      CUDA(cudaStreamSynchronize(stream));
      for (int i = 0; i < n; ++i) EXPECT(out[i] == 2.0f * (i + launch));
    }

    cudaGraph_t changed = capture(stream, side, in, a.data, b.data, c.data, out, 3);
    cudaGraphExecUpdateResultInfo info;
    CUDA(cudaGraphExecUpdate(exec, changed, &info));
    EXPECT(info.result == cudaGraphExecUpdateSuccess);
    CUDA(cudaGraphLaunch(exec, stream));
    CUDA(cudaStreamSynchronize(stream));
    EXPECT(out[10] == 3.0f * (10 + 2));

    // One kernel's arguments, changed in place.
    cudaGraphExec_t other;
    CUDA(cudaGraphInstantiate(&other, changed, 0));
    std::vector<cudaGraphNode_t> nodes(5);
    count = 5;
    CUDA(cudaGraphGetNodes(changed, nodes.data(), &count));
    for (cudaGraphNode_t node : nodes) {
      cudaGraphNodeType type;
      CUDA(cudaGraphNodeGetType(node, &type));
      if (type != cudaGraphNodeTypeKernel) continue;
      cudaKernelNodeParams parameters;
      CUDA(cudaGraphKernelNodeGetParams(node, &parameters));
      if (*static_cast<float**>(parameters.kernelParams[0]) != a.data || parameters.blockDim.x != 256) continue;
      float by = 5;
      void* arguments[] = {parameters.kernelParams[0], parameters.kernelParams[1], &by};
      parameters.kernelParams = arguments;
      parameters.func = reinterpret_cast<void*>(scale);
      CUDA(cudaGraphExecKernelNodeSetParams(other, node, &parameters));
      break;
    }
    CUDA(cudaGraphLaunch(other, stream));
    CUDA(cudaStreamSynchronize(stream));
    EXPECT(out[10] == 5.0f * (10 + 2));
    CUDA(cudaGraphExecDestroy(other));
    CUDA(cudaGraphDestroy(changed));
    CUDA(cudaGraphExecDestroy(exec));

    // A synchronous call spoils the capture.
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    void* memory;
    EXPECT(cudaMalloc(&memory, 16) == cudaErrorStreamCaptureUnsupported);
    cudaGraph_t spoiled;
    EXPECT(cudaStreamEndCapture(stream, &spoiled) == cudaErrorStreamCaptureInvalidated && spoiled == nullptr);
    (void)cudaGetLastError();
  }
  CUDA(cudaFreeHost(in));
  CUDA(cudaFreeHost(out));
  CUDA(cudaStreamDestroy(stream));
  CUDA(cudaStreamDestroy(side));
  return ok();
}
