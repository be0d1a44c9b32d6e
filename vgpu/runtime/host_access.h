#pragma once

namespace vgpu {

/// From now on a host access to device memory is reported, with what it touched and where in the program it came from.
void report_host_access();

}  // namespace vgpu
