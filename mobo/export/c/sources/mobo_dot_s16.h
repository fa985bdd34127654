/* Dot products of rows of 8-bit weights with columns of int16 inputs, four elements ("a group") at a time.
 *
 * Weights are laid out as in mobo_dot.h, but elements 1 and 2 of every four change places: the even bytes of a word are
 * then the weights of the first pair of inputs, the odd ones those of the second.
 */
#ifndef MOBO_DOT_S16_H
#define MOBO_DOT_S16_H

#include "mobo_arithmetic.h"

#if MOBO_DSP

/* Where a dot product stands. */
typedef struct {
  const uint8_t *weights, *next_weights;
  const int16_t *first, *second;
  int32_t s00, s01, s10, s11;
} mobo_progress_s16;

MOBO_INLINE int16x2_t mobo_next_pair(const int16_t **column) {
  const int16x2_t pair = (int16x2_t)mobo_load(*column);
  *column += 2;
  return pair;
}

/* Adds the next row's four products with two pairs to `sum`. */
MOBO_INLINE int32_t mobo_next_row(const uint8_t **weights, int16x2_t first, int16x2_t second, int32_t sum) {
  const uint32_t word = mobo_load(*weights);
  *weights += 4;
  return __smlad(mobo_odd(word), second, __smlad(mobo_even(word), first, sum));
}

/* One group of two rows and two columns. */
MOBO_INLINE void mobo_step_2x2_s16(mobo_progress_s16 *at) {
  const int16x2_t x = mobo_next_pair(&at->first), x_next = mobo_next_pair(&at->first);
  const int16x2_t y = mobo_next_pair(&at->second), y_next = mobo_next_pair(&at->second);
  uint32_t word = mobo_load(at->weights);
  int16x2_t even = mobo_even(word), odd = mobo_odd(word);
  at->s00 = __smlad(even, x, at->s00);
  at->s01 = __smlad(even, y, at->s01);
  at->s00 = __smlad(odd, x_next, at->s00);
  at->s01 = __smlad(odd, y_next, at->s01);
  word = mobo_load(at->weights + 4);
  at->weights += 8;
  even = mobo_even(word), odd = mobo_odd(word);
  at->s10 = __smlad(even, x, at->s10);
  at->s11 = __smlad(even, y, at->s11);
  at->s10 = __smlad(odd, x_next, at->s10);
  at->s11 = __smlad(odd, y_next, at->s11);
}

/* One group of two rows and one column. */
MOBO_INLINE void mobo_step_2x1_s16(mobo_progress_s16 *at) {
  const int16x2_t x = mobo_next_pair(&at->first), x_next = mobo_next_pair(&at->first);
  at->s00 = mobo_next_row(&at->weights, x, x_next, at->s00);
  at->s10 = mobo_next_row(&at->weights, x, x_next, at->s10);
}

/* One group of four rows and one column. */
MOBO_INLINE void mobo_step_4x1_s16(mobo_progress_s16 *at) {
  const int16x2_t x = mobo_next_pair(&at->first), x_next = mobo_next_pair(&at->first);
  at->s00 = mobo_next_row(&at->weights, x, x_next, at->s00);
  at->s01 = mobo_next_row(&at->weights, x, x_next, at->s01);
  at->s10 = mobo_next_row(&at->next_weights, x, x_next, at->s10);
  at->s11 = mobo_next_row(&at->next_weights, x, x_next, at->s11);
}

/* All groups, two at a time. */
MOBO_INLINE void mobo_all_steps_s16(mobo_progress_s16 *at, int groups, void (*step)(mobo_progress_s16 *at)) {
  if (groups & 1) {
    step(at);
  }
  for (groups >>= 1; groups != 0; --groups) {
    step(at);
    /* Keeps the next group's loads from being moved up, for which there are no registers. */
    __asm__ volatile("" ::: "memory");
    step(at);
  }
}

MOBO_INLINE void mobo_dot_2x2_w8a16(const uint8_t *weights, const int16_t *first, const int16_t *second, int groups,
                                    int32_t sums[4]) {
  mobo_progress_s16 at;
  at.weights = weights, at.first = first, at.second = second;
  at.s00 = sums[0], at.s01 = sums[1], at.s10 = sums[2], at.s11 = sums[3];
  mobo_all_steps_s16(&at, groups, mobo_step_2x2_s16);
  sums[0] = at.s00, sums[1] = at.s01, sums[2] = at.s10, sums[3] = at.s11;
}

MOBO_INLINE void mobo_dot_2x1_w8a16(const uint8_t *weights, const int16_t *column, int groups, int32_t sums[2]) {
  mobo_progress_s16 at;
  at.weights = weights, at.first = column, at.s00 = sums[0], at.s10 = sums[1];
  mobo_all_steps_s16(&at, groups, mobo_step_2x1_s16);
  sums[0] = at.s00, sums[1] = at.s10;
}

MOBO_INLINE void mobo_dot_4x1_w8a16(const uint8_t *weights, const uint8_t *next_weights, const int16_t *column,
                                    int groups, int32_t sums[4]) {
  mobo_progress_s16 at;
  at.weights = weights, at.next_weights = next_weights, at.first = column;
  at.s00 = sums[0], at.s01 = sums[1], at.s10 = sums[2], at.s11 = sums[3];
  mobo_all_steps_s16(&at, groups, mobo_step_4x1_s16);
  sums[0] = at.s00, sums[1] = at.s01, sums[2] = at.s10, sums[3] = at.s11;
}

#else /* portable */

/* Where element i of a group's four weights lies. */
#define MOBO_PLACE(i) (((i) & 1) * 2 + (i) / 2)

MOBO_INLINE void mobo_dot_2x2_w8a16(const uint8_t *weights, const int16_t *first, const int16_t *second, int groups,
                                    int32_t sums[4]) {
  const int8_t *row = (const int8_t *)weights;
  const int16_t *const end = first + 4 * groups;
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  while (first != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      const int32_t top = row[MOBO_PLACE(i)], bottom = row[MOBO_PLACE(i) + 4], x = first[i], y = second[i];
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

MOBO_INLINE void mobo_dot_2x1_w8a16(const uint8_t *weights, const int16_t *column, int groups, int32_t sums[2]) {
  const int8_t *row = (const int8_t *)weights;
  const int16_t *const end = column + 4 * groups;
  int32_t s0 = sums[0], s1 = sums[1];
  while (column != end) {
    int i;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      s0 += row[MOBO_PLACE(i)] * column[i];
      s1 += row[MOBO_PLACE(i) + 4] * column[i];
    }
    row += 8;
    column += 4;
  }
  sums[0] = s0, sums[1] = s1;
}

MOBO_INLINE void mobo_dot_4x1_w8a16(const uint8_t *weights, const uint8_t *next_weights, const int16_t *column,
                                    int groups, int32_t sums[4]) {
  mobo_dot_2x1_w8a16(weights, column, groups, sums);
  mobo_dot_2x1_w8a16(next_weights, column, groups, sums + 2);
}

#endif
#endif
