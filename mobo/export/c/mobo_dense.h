/* Fully connected layer, int8 inputs, 8- or 4-bit weights. */
#ifndef MOBO_DENSE_H
#define MOBO_DENSE_H

#include "mobo_arithmetic.h"

typedef struct {
  mobo_output_stage stage;
  /* Pairs of rows as mobo_dot.h lays them out. */
  const uint8_t *weights;
  uint16_t in_channels, out_channels;
} mobo_dense;

void mobo_dense_w8(const mobo_dense *layer, const int8_t *input, int8_t *output);
void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output);

#endif
