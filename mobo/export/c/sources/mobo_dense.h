/* Fully connected layer: int8 inputs and 8- or 4-bit weights, or int16 and 8. */
#ifndef MOBO_DENSE_H
#define MOBO_DENSE_H

#include "mobo_arithmetic.h"
#include "mobo_unpack.h"

typedef struct {
  mobo_output_stage stage;
  /* Pairs of rows as mobo_dot.h or mobo_dot_s16.h lays them out. */
  const uint8_t *weights;
  uint16_t in_channels, out_channels;
} mobo_dense;

/* A layer whose weights are unpacked, up to MOBO_DENSE_BLOCKS of a pair of rows at a time; every pair is packed on its
 * own, with weights of 0 where rows are padded. */
typedef struct {
  mobo_dense layer;
  mobo_unpack unpack;
} mobo_dense_packed;

#define MOBO_DENSE_BLOCKS 4

void mobo_dense_w8(const mobo_dense *layer, const int8_t *input, int8_t *output);
void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output);
void mobo_dense_w8a16(const mobo_dense *layer, const int16_t *input, int16_t *output);

/* `scratch`: room for what is unpacked at once. In files with MOBO_PACKED. */
void mobo_dense_w8_packed(const mobo_dense_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch);
void mobo_dense_w4_packed(const mobo_dense_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch);

#endif
