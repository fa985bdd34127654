/* Fully connected layer: int8 inputs and 8- or 4-bit weights, or int16 and 8. */
#ifndef MOBO_DENSE_H
#define MOBO_DENSE_H

#include "mobo_arithmetic.h"

typedef struct {
  mobo_output_stage stage;
  /* Pairs of rows as mobo_dot.h or mobo_dot_s16.h lays them out. */
  const uint8_t *weights;
  uint16_t in_channels, out_channels;
} mobo_dense;

void mobo_dense_w8(const mobo_dense *layer, const int8_t *input, int8_t *output);
void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output);
void mobo_dense_w8a16(const mobo_dense *layer, const int16_t *input, int16_t *output);

#endif
