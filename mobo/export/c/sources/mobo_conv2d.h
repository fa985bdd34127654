/* Two-dimensional convolution: int8 inputs and 8- or 4-bit weights, or int16 and 8. */
#ifndef MOBO_CONV2D_H
#define MOBO_CONV2D_H

#include "mobo_arithmetic.h"
#include "mobo_unpack.h"

typedef struct {
  mobo_output_stage stage;
  /* Pairs of rows as mobo_dot.h or mobo_dot_s16.h lays them out; an odd last row is paired with one that counts
   * nothing. */
  const uint8_t *weights;
  uint16_t in_height, in_width, in_channels;
  uint16_t out_height, out_width, out_channels;
  uint16_t kernel_height, kernel_width;
  uint8_t stride_height, stride_width;
  int8_t input_zero_point;
  uint16_t pad_top, pad_left;
} mobo_conv2d;

/* A layer whose weights are unpacked, `tile` channels at a time (an even number); each such part is packed on its own,
 * with weights of 0 where rows are padded. */
typedef struct {
  mobo_conv2d layer;
  mobo_unpack unpack;
  uint16_t tile;
} mobo_conv2d_packed;

/* `columns`: room for two windows of the input, each rounded up to four elements; not used by 1x1 kernels. */
void mobo_conv2d_w8(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns);
void mobo_conv2d_w4(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns);
void mobo_conv2d_w8a16(const mobo_conv2d *layer, const int16_t *input, int16_t *output, int16_t *columns);

/* `scratch`: room for the blocks of one tile, behind them that of `columns`. In files with MOBO_PACKED. */
void mobo_conv2d_w8_packed(const mobo_conv2d_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch);
void mobo_conv2d_w4_packed(const mobo_conv2d_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch);

#endif
