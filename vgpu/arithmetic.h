// add, sub, mul and the like are one opcode for integers and floats; ops_float.cc reads the type and hands integers on
// to these.
#pragma once

#include "vgpu/decoder.h"

namespace vgpu {

void decode_integer_add(Decoder& d, Type t);
void decode_integer_mul(Decoder& d, Type t);
void decode_integer_mad(Decoder& d, Type t);
void decode_integer_div(Decoder& d, Type t);
void decode_integer_min(Decoder& d, Type t);
void decode_integer_abs(Decoder& d, Type t);
void decode_integer_neg(Decoder& d, Type t);
bool decode_packed_integer(Decoder& d);  // false: no packed type among the qualifiers

}  // namespace vgpu
