/* Dot products of two rows of weights with one or two columns of int8 inputs, four elements ("a group") at a time.
 *
 * Weights are laid out for these loops. 8 bits: per group the four of the first row, then the four of the second.
 * 4 bits: per group four bytes, byte i with element i of the first row in its low half and of the second row in its
 * high half, each plus 8; so 4-bit dot products come out too large by 8 times the column's sum, which the caller
 * takes off beforehand. Rows are padded with weights that count nothing, columns may end in any bytes.
 */
#ifndef MOBO_DOT_H
#define MOBO_DOT_H

#include "mobo_arithmetic.h"

#define MOBO_OFFSET_W4 8

/* Sums are those of [row * 2 + column], or of [row]; 4x1 takes two pairs of rows. */

#if MOBO_DSP

/* Where a dot product stands. */
typedef struct {
  const uint8_t *weights;
  const int8_t *first, *second;
  int32_t s00, s01, s10, s11;
} mobo_progress;

MOBO_INLINE uint32_t mobo_next(const int8_t **column) {
  const uint32_t word = mobo_load(*column);
  *column += 4;
  return word;
}

MOBO_INLINE uint32_t mobo_next_weights(mobo_progress *at) {
  const uint32_t word = mobo_load(at->weights);
  at->weights += 4;
  return word;
}

/* One group of two rows and two columns, 8-bit weights. */
MOBO_INLINE void mobo_step_2x2_w8(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first), y = mobo_next(&at->second);
  const int16x2_t x_even = mobo_even(x), x_odd = mobo_odd(x), y_even = mobo_even(y), y_odd = mobo_odd(y);
  uint32_t word = mobo_next_weights(at);
  int16x2_t even = mobo_even(word), odd = mobo_odd(word);
  (void)mask;
  at->s00 = __smlad(even, x_even, at->s00);
  at->s01 = __smlad(even, y_even, at->s01);
  at->s00 = __smlad(odd, x_odd, at->s00);
  at->s01 = __smlad(odd, y_odd, at->s01);
  word = mobo_next_weights(at);
  even = mobo_even(word), odd = mobo_odd(word);
  at->s10 = __smlad(even, x_even, at->s10);
  at->s11 = __smlad(even, y_even, at->s11);
  at->s10 = __smlad(odd, x_odd, at->s10);
  at->s11 = __smlad(odd, y_odd, at->s11);
}

/* A pair of 4-bit weights as 16-bit numbers: bytes 0 and 2 of the word, `from` bits up. */
#define MOBO_NIBBLES(word, from) ((int16x2_t)(((word) >> (from)) & mask))

/* One group of two rows and two columns, 4-bit weights. */
MOBO_INLINE void mobo_step_2x2_w4(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first), y = mobo_next(&at->second);
  const int16x2_t x_even = mobo_even(x), x_odd = mobo_odd(x), y_even = mobo_even(y), y_odd = mobo_odd(y);
  const uint32_t word = mobo_next_weights(at);
  int16x2_t weight = MOBO_NIBBLES(word, 0);
  at->s00 = __smlad(weight, x_even, at->s00);
  at->s01 = __smlad(weight, y_even, at->s01);
  weight = MOBO_NIBBLES(word, 8);
  at->s00 = __smlad(weight, x_odd, at->s00);
  at->s01 = __smlad(weight, y_odd, at->s01);
  weight = MOBO_NIBBLES(word, 4);
  at->s10 = __smlad(weight, x_even, at->s10);
  at->s11 = __smlad(weight, y_even, at->s11);
  weight = MOBO_NIBBLES(word, 12);
  at->s10 = __smlad(weight, x_odd, at->s10);
  at->s11 = __smlad(weight, y_odd, at->s11);
}

/* One group of two rows and one column, 8-bit weights. */
MOBO_INLINE void mobo_step_2x1_w8(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first);
  const int16x2_t even = mobo_even(x), odd = mobo_odd(x);
  uint32_t word = mobo_next_weights(at);
  (void)mask;
  at->s00 = __smlad(mobo_even(word), even, at->s00);
  at->s00 = __smlad(mobo_odd(word), odd, at->s00);
  word = mobo_next_weights(at);
  at->s10 = __smlad(mobo_even(word), even, at->s10);
  at->s10 = __smlad(mobo_odd(word), odd, at->s10);
}

/* One group of two rows and one column, 4-bit weights. */
MOBO_INLINE void mobo_step_2x1_w4(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first);
  const int16x2_t even = mobo_even(x), odd = mobo_odd(x);
  const uint32_t word = mobo_next_weights(at);
  at->s00 = __smlad(MOBO_NIBBLES(word, 0), even, at->s00);
  at->s00 = __smlad(MOBO_NIBBLES(word, 8), odd, at->s00);
  at->s10 = __smlad(MOBO_NIBBLES(word, 4), even, at->s10);
  at->s10 = __smlad(MOBO_NIBBLES(word, 12), odd, at->s10);
}

/* One group of four rows and one column: `second` points to the other pair of rows. */
MOBO_INLINE void mobo_step_4x1_w8(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first);
  const int16x2_t even = mobo_even(x), odd = mobo_odd(x);
  uint32_t word = mobo_next_weights(at);
  (void)mask;
  at->s00 = __smlad(mobo_even(word), even, at->s00);
  at->s00 = __smlad(mobo_odd(word), odd, at->s00);
  word = mobo_next_weights(at);
  at->s01 = __smlad(mobo_even(word), even, at->s01);
  at->s01 = __smlad(mobo_odd(word), odd, at->s01);
  word = mobo_next(&at->second);
  at->s10 = __smlad(mobo_even(word), even, at->s10);
  at->s10 = __smlad(mobo_odd(word), odd, at->s10);
  word = mobo_next(&at->second);
  at->s11 = __smlad(mobo_even(word), even, at->s11);
  at->s11 = __smlad(mobo_odd(word), odd, at->s11);
}

MOBO_INLINE void mobo_step_4x1_w4(mobo_progress *at, uint32_t mask) {
  const uint32_t x = mobo_next(&at->first);
  const int16x2_t even = mobo_even(x), odd = mobo_odd(x);
  uint32_t word = mobo_next_weights(at);
  at->s00 = __smlad(MOBO_NIBBLES(word, 0), even, at->s00);
  at->s00 = __smlad(MOBO_NIBBLES(word, 8), odd, at->s00);
  at->s01 = __smlad(MOBO_NIBBLES(word, 4), even, at->s01);
  at->s01 = __smlad(MOBO_NIBBLES(word, 12), odd, at->s01);
  word = mobo_next(&at->second);
  at->s10 = __smlad(MOBO_NIBBLES(word, 0), even, at->s10);
  at->s10 = __smlad(MOBO_NIBBLES(word, 8), odd, at->s10);
  at->s11 = __smlad(MOBO_NIBBLES(word, 4), even, at->s11);
  at->s11 = __smlad(MOBO_NIBBLES(word, 12), odd, at->s11);
}

/* All groups, two at a time. */
MOBO_INLINE void mobo_all_steps(mobo_progress *at, int groups, void (*step)(mobo_progress *at, uint32_t mask)) {
  uint32_t mask = 0x000F000Fu;
  /* Keeps the mask in a register, so that shifting a word and masking it is one instruction. */
  __asm__("" : "+r"(mask));
  if (groups & 1) {
    step(at, mask);
  }
  for (groups >>= 1; groups != 0; --groups) {
    step(at, mask);
    /* Keeps the next group's loads from being moved up, for which there are no registers. */
    __asm__ volatile("" ::: "memory");
    step(at, mask);
  }
}

MOBO_INLINE void mobo_dsp_2x2(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                              int32_t sums[4], void (*step)(mobo_progress *at, uint32_t mask)) {
  mobo_progress at;
  at.weights = weights, at.first = first, at.second = second;
  at.s00 = sums[0], at.s01 = sums[1], at.s10 = sums[2], at.s11 = sums[3];
  mobo_all_steps(&at, groups, step);
  sums[0] = at.s00, sums[1] = at.s01, sums[2] = at.s10, sums[3] = at.s11;
}

MOBO_INLINE void mobo_dot_2x2_w8(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  mobo_dsp_2x2(weights, first, second, groups, sums, mobo_step_2x2_w8);
}

MOBO_INLINE void mobo_dot_2x2_w4(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  mobo_dsp_2x2(weights, first, second, groups, sums, mobo_step_2x2_w4);
}

MOBO_INLINE void mobo_dsp_2x1(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2],
                              void (*step)(mobo_progress *at, uint32_t mask)) {
  mobo_progress at;
  at.weights = weights, at.first = column, at.s00 = sums[0], at.s10 = sums[1];
  mobo_all_steps(&at, groups, step);
  sums[0] = at.s00, sums[1] = at.s10;
}

MOBO_INLINE void mobo_dot_2x1_w8(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  mobo_dsp_2x1(weights, column, groups, sums, mobo_step_2x1_w8);
}

MOBO_INLINE void mobo_dot_2x1_w4(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  mobo_dsp_2x1(weights, column, groups, sums, mobo_step_2x1_w4);
}

MOBO_INLINE void mobo_dsp_4x1(const uint8_t *weights, const uint8_t *next_weights, const int8_t *column, int groups,
                              int32_t sums[4], void (*step)(mobo_progress *at, uint32_t mask)) {
  mobo_dsp_2x2(weights, column, (const int8_t *)next_weights, groups, sums, step);
}

MOBO_INLINE void mobo_dot_4x1_w8(const uint8_t *weights, const uint8_t *next_weights, const int8_t *column, int groups,
                                 int32_t sums[4]) {
  mobo_dsp_4x1(weights, next_weights, column, groups, sums, mobo_step_4x1_w8);
}

MOBO_INLINE void mobo_dot_4x1_w4(const uint8_t *weights, const uint8_t *next_weights, const int8_t *column, int groups,
                                 int32_t sums[4]) {
  mobo_dsp_4x1(weights, next_weights, column, groups, sums, mobo_step_4x1_w4);
}

MOBO_INLINE int32_t mobo_sum(const int8_t *column, int length) {
  int32_t sum = 0;
  for (; length >= 4; length -= 4, column += 4) {
    const uint32_t word = mobo_load(column);
    sum = __smlad(mobo_even(word), (int16x2_t)0x00010001, sum);
    sum = __smlad(mobo_odd(word), (int16x2_t)0x00010001, sum);
  }
  for (; length > 0; --length) {
    sum += *column++;
  }
  return sum;
}

#else /* portable */

MOBO_INLINE void mobo_dot_2x2_w8(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  const int8_t *row = (const int8_t *)weights, *end = first + 4 * groups;
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  while (first != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      const int32_t top = row[i], bottom = row[i + 4], x = first[i], y = second[i];
      s00 += top * x;
      s01 += top * y;
      s10 += bottom * x;
      s11 += bottom * y;
    }
    row += 8;
    first += 4;
    second += 4;
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
}

MOBO_INLINE void mobo_dot_2x1_w8(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  const int8_t *row = (const int8_t *)weights, *end = column + 4 * groups;
  int32_t s0 = sums[0], s1 = sums[1];
  while (column != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      s0 += row[i] * column[i];
      s1 += row[i + 4] * column[i];
    }
    row += 8;
    column += 4;
  }
  sums[0] = s0, sums[1] = s1;
}

MOBO_INLINE void mobo_dot_2x2_w4(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  const int8_t *end = first + 4 * groups;
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  while (first != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      const int32_t top = weights[i] & 15, bottom = weights[i] >> 4, x = first[i], y = second[i];
      s00 += top * x;
      s01 += top * y;
      s10 += bottom * x;
      s11 += bottom * y;
    }
    weights += 4;
    first += 4;
    second += 4;
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
}

MOBO_INLINE void mobo_dot_2x1_w4(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  const int8_t *end = column + 4 * groups;
  int32_t s0 = sums[0], s1 = sums[1];
  while (column != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      s0 += (weights[i] & 15) * column[i];
      s1 += (weights[i] >> 4) * column[i];
    }
    weights += 4;
    column += 4;
  }
  sums[0] = s0, sums[1] = s1;
}

MOBO_INLINE void mobo_dot_4x1_w8(const uint8_t *weights, const uint8_t *next_weights, const int8_t *column, int groups,
                                 int32_t sums[4]) {
  mobo_dot_2x1_w8(weights, column, groups, sums);
  mobo_dot_2x1_w8(next_weights, column, groups, sums + 2);
}

MOBO_INLINE void mobo_dot_4x1_w4(const uint8_t *weights, const uint8_t *next_weights, const int8_t *column, int groups,
                                 int32_t sums[4]) {
  mobo_dot_2x1_w4(weights, column, groups, sums);
  mobo_dot_2x1_w4(next_weights, column, groups, sums + 2);
}

MOBO_INLINE int32_t mobo_sum(const int8_t *column, int length) {
  int32_t sum = 0;
  int i;
  for (i = 0; i < length; ++i) {
    sum += column[i];
  }
  return sum;
}

#endif
#endif
