/* The integer arithmetic every kernel shares: the output stage and four-byte loads.
 *
 * All of it is the arithmetic of TFLite's reference kernels: for int8 rounded twice; for int16 (a file that defines
 * MOBO_INT16 before it includes this one) rounded once, with multipliers of 16 bits and zero points of 0. Right shifts
 * of negative numbers are arithmetic, as every compiler for these cores defines them. Little-endian cores only.
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

/* One output channel: the bias with the input's zero point folded in, and the multiplier's mantissa. For int16 the
 * mantissa has 16 bits and the bias 48, whose upper 16 lie above the mantissa. */
typedef struct {
  int32_t bias;
  int32_t mantissa;
} mobo_channel;

/* From accumulators to outputs. `shifts` are the multipliers' right shifts (left ones are negative); for int16 what
 * is left of them after the 16 bits that every product drops. */
typedef struct {
  const mobo_channel *channels;
  const int8_t *shifts;
  /* 2 * zero point + 1: half a unit and the zero point, in halves. */
  int16_t half_and_zero_point;
  int16_t low;
  int16_t high;
  /* 0 when every channel obeys the bounds of mobo_narrow. */
  uint8_t wide;
} mobo_output_stage;

int8_t mobo_requantise_wide(int32_t accumulator, int32_t mantissa, int shift, const mobo_output_stage *stage);
int16_t mobo_requantise_wide_s16(int64_t accumulator, int32_t mantissa, int shift, const mobo_output_stage *stage);
int32_t mobo_multiply(int32_t value, int32_t mantissa, int right_shift);

/* Returns (2 * a * b + 2^31) >> 32, which is a * b / 2^31 rounded; a must lie in -2^30 .. 2^30 - 1. */
MOBO_INLINE int32_t mobo_rounding_high(int32_t a, int32_t b) {
#if MOBO_DSP
  int32_t result;
  __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a * 2), "r"(b));
  return result;
#else
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
#endif
}

/* Half a unit and the zero point in units of the bits that a right shift of 1 to 30 drops. */
MOBO_INLINE int32_t mobo_addend(int32_t half_and_zero_point, int shift) {
  return (int32_t)((uint32_t)half_and_zero_point << shift) >> 1;
}

#ifndef MOBO_INT16
typedef int8_t mobo_element;
#define MOBO_LEAST INT8_MIN
/* How much finer than an input the common scale of an addition is, in bits. */
#define MOBO_ADD_SHIFT 20
/* Whether a layer's sums of 32 bits go through a stage without bounds. */
#define MOBO_WIDE(stage) ((stage)->wide)

/* The output stage for |accumulator| < 2^30, right shifts from 1 to 22 and a clamp to all of int8: half, sign and zero
 * point are added before the one shift that divides. `addend` comes from mobo_addend. */
MOBO_INLINE int32_t mobo_narrow(int32_t accumulator, int32_t mantissa, int shift, int32_t addend, int32_t low) {
  int32_t value = mobo_rounding_high(accumulator, mantissa);
  (void)low;
  value = (value + (value >> 31) + addend) >> shift;
#if defined(__ARM_FEATURE_SAT)
  return __ssat(value, 8);
#else
  return value < -128 ? -128 : value > 127 ? 127 : value;
#endif
}

MOBO_INLINE int32_t mobo_bias(const mobo_channel *channel) { return channel->bias; }

/* Turns the sum of one channel into an output. */
MOBO_INLINE void mobo_store(const mobo_output_stage *stage, int channel, int32_t sum, int8_t *output) {
  const int32_t mantissa = stage->channels[channel].mantissa;
  const int shift = stage->shifts[channel];
  if (stage->wide) {
    *output = mobo_requantise_wide(sum, mantissa, shift, stage);
  } else {
    *output = (int8_t)mobo_narrow(sum, mantissa, shift, mobo_addend(stage->half_and_zero_point, shift), 0);
  }
}
#else
typedef int16_t mobo_element;
#define MOBO_LEAST INT16_MIN
#define MOBO_ADD_SHIFT 15
/* Layers beyond the bounds have sums of 64 bits: mobo_wide_s16.h. */
#define MOBO_WIDE(stage) 0

/* Returns (accumulator * (lower half of `mantissa`) >> 16) + addend. */
MOBO_INLINE int32_t mobo_high(int32_t accumulator, int32_t mantissa, int32_t addend) {
#if MOBO_DSP
  return __smlawb(accumulator, mantissa, addend);
#else
  const int32_t factor = (int16_t)mantissa, upper = (accumulator >> 16) * factor;
  return upper + (int32_t)(((uint32_t)accumulator & 0xFFFFu) * (uint32_t)factor >> 16) + addend;
#endif
}

/* The output stage for accumulators of 32 bits, right shifts from 1 to 30 and a clamp that reaches up to 32767: what a
 * product drops lies below half a unit, so that one more shift rounds all of it. */
MOBO_INLINE int32_t mobo_narrow(int32_t accumulator, int32_t mantissa, int shift, int32_t addend, int32_t low) {
  int32_t value = mobo_high(accumulator, mantissa, addend) >> shift;
#if defined(__ARM_FEATURE_SAT)
  value = __ssat(value, 16);
#else
  value = value > 32767 ? 32767 : value;
#endif
  return value < low ? low : value;
}

/* All 48 bits of a bias. */
MOBO_INLINE int64_t mobo_bias(const mobo_channel *channel) {
  return (int64_t)(channel->mantissa >> 16) * ((int64_t)1 << 32) + (uint32_t)channel->bias;
}

/* Turns the sum of one channel, 48 bits, into an output. */
MOBO_INLINE void mobo_store(const mobo_output_stage *stage, int channel, int64_t sum, int16_t *output) {
  const int32_t mantissa = stage->channels[channel].mantissa;
  const int shift = stage->shifts[channel];
  if (stage->wide) {
    *output = mobo_requantise_wide_s16(sum, mantissa, shift, stage);
  } else {
    *output = (int16_t)mobo_narrow((int32_t)sum, mantissa, shift, mobo_addend(1, shift), stage->low);
  }
}
#endif

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
