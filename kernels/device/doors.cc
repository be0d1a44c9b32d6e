#include "kernels/device/doors.h"

#include "kernels/device/cublas.h"
#include "kernels/device/cudnn.h"
#include "tensor/check.h"

namespace weft {

namespace {
GemmDoor chosen_gemm = GemmDoor::own;
ConvDoor chosen_conv = ConvDoor::own;
}  // namespace

void choose_gemm(const std::string& name) {
  check(name == "own" || name == "cublas", "[gemm] the door must be own or cublas but is {}", name);
  if (name == "cublas") load_cublas();
  chosen_gemm = name == "own" ? GemmDoor::own : GemmDoor::cublas;
}

void choose_conv(const std::string& name) {
  check(name == "own" || name == "cudnn", "[conv] the door must be own or cudnn but is {}", name);
  if (name == "cudnn") load_cudnn();
  chosen_conv = name == "own" ? ConvDoor::own : ConvDoor::cudnn;
}

GemmDoor gemm_door() { return chosen_gemm; }
ConvDoor conv_door() { return chosen_conv; }

}  // namespace weft
