#include "mobo_arithmetic.h"

/* Returns value * mantissa / 2^31 / 2^right_shift, rounded twice as TFLite does; a left shift saturates. */
int32_t mobo_multiply(int32_t value, int32_t mantissa, int right_shift) {
  int64_t shifted = value;
  int32_t high, nudge;
  if (right_shift < 0) {
    shifted *= (int64_t)1 << -right_shift;
    shifted = shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : shifted;
    right_shift = 0;
  }
  high = (int32_t)((shifted * mantissa + ((int64_t)1 << 30)) >> 31);
  if (right_shift == 0) {
    return high;
  }
  nudge = (int32_t)(((uint32_t)1 << right_shift) >> 1) + (high >> 31);
  return (int32_t)(((int64_t)high + nudge) >> right_shift);
}

/* The output stage for any multiplier and any accumulator. */
int8_t mobo_requantise_wide(int32_t accumulator, int32_t mantissa, int shift, const mobo_output_stage *stage) {
  const int zero_point = (stage->half_and_zero_point - 1) / 2;
  const int64_t value = (int64_t)mobo_multiply(accumulator, mantissa, shift) + zero_point;
  return (int8_t)(value < stage->low ? stage->low : value > stage->high ? stage->high : value);
}

/* The same for int16, with accumulators of up to 48 bits. */
int16_t mobo_requantise_wide_s16(int64_t accumulator, int32_t mantissa, int shift, const mobo_output_stage *stage) {
  const int64_t value = (accumulator * (int16_t)mantissa + ((int64_t)1 << (shift + 15))) >> (shift + 16);
  return (int16_t)(value < stage->low ? stage->low : value > stage->high ? stage->high : value);
}
