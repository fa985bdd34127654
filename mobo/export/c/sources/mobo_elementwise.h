/* Addition, standalone activations, conversion between int8 and int16. The output may lie where an input lies, unless
 * it has more bits. */
#ifndef MOBO_ELEMENTWISE_H
#define MOBO_ELEMENTWISE_H

#include "mobo_arithmetic.h"

/* One operand's way to the common scale: a multiplier of at most 1/2, `shift` to the right. */
typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t zero_point;
} mobo_operand;

typedef struct {
  mobo_operand first, second;
  int32_t mantissa;
  int8_t shift;
  int8_t zero_point;
  int16_t low, high;
  int32_t elements;
} mobo_add;

typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t input_zero_point, zero_point;
  /* Whether inputs and outputs are int16. */
  uint8_t from_int16, to_int16;
  int16_t low, high;
  int32_t elements;
} mobo_rescale;

void mobo_add_s8(const mobo_add *layer, const int8_t *first, const int8_t *second, int8_t *output);
void mobo_add_s16(const mobo_add *layer, const int16_t *first, const int16_t *second, int16_t *output);
void mobo_rescale_any(const mobo_rescale *layer, const void *input, void *output);

#endif
