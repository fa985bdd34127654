/* Softmax over a vector, output scale 1/256 and zero point -128, in fixed point. */
#ifndef MOBO_SOFTMAX_H
#define MOBO_SOFTMAX_H

#include "mobo_arithmetic.h"

typedef struct {
  int32_t mantissa;
  int8_t left_shift;
  /* Differences from the maximum below this count as an exponential of zero. */
  int32_t smallest;
  int32_t rows, channels;
} mobo_softmax;

/* The output may lie where the input lies. */
void mobo_softmax_s8(const mobo_softmax *layer, const int8_t *input, int8_t *output);

#endif
