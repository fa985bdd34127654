/* Addition, for the files that make its widths. */
#ifndef MOBO_ADD_BODY_H
#define MOBO_ADD_BODY_H

#include "mobo_elementwise.h"

/* An operand in the common scale, 2^20 times finer than int8 or 2^15 times finer than int16. */
MOBO_INLINE int32_t mobo_operand_value(const mobo_operand *operand, int32_t x) {
  const int32_t value = mobo_rounding_high((x - operand->zero_point) * (1 << MOBO_ADD_SHIFT), operand->mantissa);
  const int shift = operand->shift;
  if (shift == 0) {
    return value;
  }
  return (value + (value >> 31) + (1 << (shift - 1))) >> shift;
}

MOBO_INLINE void mobo_add_elements(const mobo_add *layer, const mobo_element *first, const mobo_element *second,
                                   mobo_element *output) {
  const mobo_operand one = layer->first, other = layer->second;
  const int32_t mantissa = layer->mantissa, low = layer->low, high = layer->high;
  const int shift = layer->shift;
  const mobo_element *const end = first + layer->elements;
  if (shift < 1 || shift > 22) {
    while (first != end) {
      const int32_t sum = mobo_operand_value(&one, *first++) + mobo_operand_value(&other, *second++);
      const int64_t value = (int64_t)mobo_multiply(sum, mantissa, shift) + layer->zero_point;
      *output++ = (mobo_element)(value < low ? low : value > high ? high : value);
    }
    return;
  }
  {
    const int32_t half_and_zero_point = (2 * layer->zero_point + 1) * (1 << shift) / 2;
    while (first != end) {
      const int32_t sum = mobo_operand_value(&one, *first++) + mobo_operand_value(&other, *second++);
      int32_t value = mobo_rounding_high(sum, mantissa);
      value = (value + (value >> 31) + half_and_zero_point) >> shift;
      *output++ = (mobo_element)(value < low ? low : value > high ? high : value);
    }
  }
}

#endif
