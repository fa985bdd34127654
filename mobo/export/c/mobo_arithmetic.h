/* The integer arithmetic every kernel shares: the output stage and four-byte loads.
 *
 * All of it is TFLite's int8 arithmetic with the double rounding of its reference kernels. Right shifts of negative
 * numbers are arithmetic, as every compiler for these cores defines them. Little-endian cores only.
 */
#ifndef MOBO_ARITHMETIC_H
#define MOBO_ARITHMETIC_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) || defined(__ARM_FEATURE_SAT)
#include <arm_acle.h>
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_UNALIGNED)
#define MOBO_DSP 1
#else
#define MOBO_DSP 0
#endif

#if defined(__GNUC__)
#define MOBO_INLINE static inline __attribute__((always_inline, unused))
#define MOBO_ALIGNED __attribute__((aligned(4)))
#else
#define MOBO_INLINE static inline
#define MOBO_ALIGNED
#endif

/* One output channel: the bias with the input's zero point folded in, and the multiplier's mantissa. */
typedef struct {
  int32_t bias;
  int32_t mantissa;
} mobo_channel;

/* From accumulators to int8. `shifts` are the multipliers' right shifts (left ones are negative). */
typedef struct {
  const mobo_channel *channels;
  const int8_t *shifts;
  /* 2 * zero point + 1: half a unit and the zero point, in halves. */
  int16_t half_and_zero_point;
  int8_t low;
  int8_t high;
  /* 0 when every channel obeys the bounds of mobo_narrow. */
  uint8_t wide;
} mobo_output_stage;

int8_t mobo_requantise_wide(int32_t accumulator, int32_t mantissa, int shift, const mobo_output_stage *stage);
int32_t mobo_multiply(int32_t value, int32_t mantissa, int right_shift);

/* Returns (2 * a * b + 2^31) >> 32, which is a * b / 2^31 rounded; |a| must be below 2^30. */
MOBO_INLINE int32_t mobo_rounding_high(int32_t a, int32_t b) {
#if MOBO_DSP
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a * 2), "r"(b));
  return result;
#else
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
#endif
}

/* The output stage for |accumulator| < 2^30, right shifts from 1 to 22 and a clamp to all of int8: half, sign and zero
 * point are added before the one shift that divides. `addend` comes from mobo_addend. */
MOBO_INLINE int32_t mobo_narrow(int32_t accumulator, int32_t mantissa, int shift, int32_t addend) {
  int32_t value = mobo_rounding_high(accumulator, mantissa);
  value = (value + (value >> 31) + addend) >> shift;
#if defined(__ARM_FEATURE_SAT)
  return __ssat(value, 8);
#else
  return value < -128 ? -128 : value > 127 ? 127 : value;
#endif
}

/* Half a unit and the zero point in units of the bits that a right shift of 1 to 22 drops. */
MOBO_INLINE int32_t mobo_addend(int32_t half_and_zero_point, int shift) {
  return (int32_t)((uint32_t)half_and_zero_point << shift) >> 1;
}

/* Turns the sum of one channel into an output. */
MOBO_INLINE void mobo_store(const mobo_output_stage *stage, int channel, int32_t sum, int8_t *output) {
  const int32_t mantissa = stage->channels[channel].mantissa;
  const int shift = stage->shifts[channel];
  if (stage->wide) {
    *output = mobo_requantise_wide(sum, mantissa, shift, stage);
  } else {
    *output = (int8_t)mobo_narrow(sum, mantissa, shift, mobo_addend(stage->half_and_zero_point, shift));
  }
}

#if MOBO_DSP
MOBO_INLINE uint32_t mobo_load(const void *bytes) {
  uint32_t word;
  /* The builtin, which stays one load where the compiler may not assume a C library. */
  __builtin_memcpy(&word, bytes, sizeof word);
  return word;
}

/* Bytes 0 and 2 of a word, sign-extended to a pair of 16-bit numbers. */
MOBO_INLINE int16x2_t mobo_even(uint32_t word) { return __sxtb16((int8x4_t)word); }

/* Bytes 1 and 3. */
MOBO_INLINE int16x2_t mobo_odd(uint32_t word) {
  int16x2_t pair;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
  return pair;
}
#endif

#endif
