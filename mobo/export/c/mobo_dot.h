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

/* Adds to sums[row * 2 + column]. */
typedef void (*mobo_dot_2x2)(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                             int32_t sums[4]);
/* Adds to sums[row]. */
typedef void (*mobo_dot_2x1)(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]);

#if MOBO_DSP

#define MOBO_BLOCK(weight, x, y, top, bottom) \
  do {                                        \
    top = __smlad(weight, x, top);            \
    bottom = __smlad(weight, y, bottom);      \
  } while (0)

MOBO_INLINE void mobo_dot_2x2_w8(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  const int8_t *end = first + 4 * groups;
  while (first != end) {
    uint32_t word = mobo_load(first);
    const int16x2_t x_even = mobo_even(word), x_odd = mobo_odd(word);
    int16x2_t y_even, y_odd, weight;
    first += 4;
    word = mobo_load(second);
    second += 4;
    y_even = mobo_even(word);
    y_odd = mobo_odd(word);
    word = mobo_load(weights);
    weight = mobo_even(word);
    MOBO_BLOCK(weight, x_even, y_even, s00, s01);
    weight = mobo_odd(word);
    MOBO_BLOCK(weight, x_odd, y_odd, s00, s01);
    word = mobo_load(weights + 4);
    weights += 8;
    weight = mobo_even(word);
    MOBO_BLOCK(weight, x_even, y_even, s10, s11);
    weight = mobo_odd(word);
    MOBO_BLOCK(weight, x_odd, y_odd, s10, s11);
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
}

MOBO_INLINE void mobo_dot_2x1_w8(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  int32_t s0 = sums[0], s1 = sums[1];
  const int8_t *end = column + 4 * groups;
  while (column != end) {
    uint32_t word = mobo_load(column);
    const int16x2_t even = mobo_even(word), odd = mobo_odd(word);
    column += 4;
    word = mobo_load(weights);
    s0 = __smlad(mobo_even(word), even, s0);
    s0 = __smlad(mobo_odd(word), odd, s0);
    word = mobo_load(weights + 4);
    weights += 8;
    s1 = __smlad(mobo_even(word), even, s1);
    s1 = __smlad(mobo_odd(word), odd, s1);
  }
  sums[0] = s0, sums[1] = s1;
}

/* A pair of 4-bit weights as 16-bit numbers: lanes 0 and 2 of the byte order, `from` bits up. */
#define MOBO_NIBBLES(word, from) ((int16x2_t)(((word) >> (from)) & 0x000F000Fu))

MOBO_INLINE void mobo_dot_2x2_w4(const uint8_t *weights, const int8_t *first, const int8_t *second, int groups,
                                 int32_t sums[4]) {
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  const int8_t *end = first + 4 * groups;
  while (first != end) {
    uint32_t word = mobo_load(first);
    const int16x2_t x_even = mobo_even(word), x_odd = mobo_odd(word);
    int16x2_t y_even, y_odd, weight;
    first += 4;
    word = mobo_load(second);
    second += 4;
    y_even = mobo_even(word);
    y_odd = mobo_odd(word);
    word = mobo_load(weights);
    weights += 4;
    weight = MOBO_NIBBLES(word, 0);
    MOBO_BLOCK(weight, x_even, y_even, s00, s01);
    weight = MOBO_NIBBLES(word, 8);
    MOBO_BLOCK(weight, x_odd, y_odd, s00, s01);
    weight = MOBO_NIBBLES(word, 4);
    MOBO_BLOCK(weight, x_even, y_even, s10, s11);
    weight = MOBO_NIBBLES(word, 12);
    MOBO_BLOCK(weight, x_odd, y_odd, s10, s11);
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
}

MOBO_INLINE void mobo_dot_2x1_w4(const uint8_t *weights, const int8_t *column, int groups, int32_t sums[2]) {
  int32_t s0 = sums[0], s1 = sums[1];
  const int8_t *end = column + 4 * groups;
  while (column != end) {
    uint32_t word = mobo_load(column);
    const int16x2_t even = mobo_even(word), odd = mobo_odd(word);
    column += 4;
    word = mobo_load(weights);
    weights += 4;
    s0 = __smlad(MOBO_NIBBLES(word, 0), even, s0);
    s0 = __smlad(MOBO_NIBBLES(word, 8), odd, s0);
    s1 = __smlad(MOBO_NIBBLES(word, 4), even, s1);
    s1 = __smlad(MOBO_NIBBLES(word, 12), odd, s1);
  }
  sums[0] = s0, sums[1] = s1;
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
