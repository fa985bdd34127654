/* Addition and standalone activations. The output may lie where an input lies. */
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
  int8_t zero_point, low, high;
  int32_t elements;
} mobo_add;

typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t input_zero_point, zero_point, low, high;
  int32_t elements;
} mobo_rescale;

void mobo_add_s8(const mobo_add *layer, const int8_t *first, const int8_t *second, int8_t *output);
void mobo_rescale_s8(const mobo_rescale *layer, const int8_t *input, int8_t *output);

#endif
