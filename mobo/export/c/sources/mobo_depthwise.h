/* Depthwise convolution with channel multiplier 1: int8 inputs and 8- or 4-bit weights, or int16 and 8. */
#ifndef MOBO_DEPTHWISE_H
#define MOBO_DEPTHWISE_H

#include "mobo_arithmetic.h"
#include "mobo_unpack.h"

typedef struct {
  mobo_output_stage stage;
  /* Blocks of four channels, the last one filled up with zeros. 8 bits: per tap four bytes. 4 bits: per two taps four
   * bytes, two's complement; the halves of byte 1 hold channels 0 (high) and 1 (low) of the first tap, those of
   * byte 0 the same of the second tap, bytes 3 and 2 channels 2 and 3. */
  const uint8_t *weights;
  /* As many zero points as channels, and three more: what a window reads outside the map. */
  const void *outside;
  uint16_t in_height, in_width, channels;
  uint16_t out_height, out_width;
  uint16_t kernel_height, kernel_width;
  uint8_t stride_height, stride_width;
  uint16_t pad_top, pad_left;
} mobo_depthwise;

/* A layer whose weights are unpacked, `tile` channels at a time (a multiple of four), each part packed on its own. */
typedef struct {
  mobo_depthwise layer;
  mobo_unpack unpack;
  uint16_t tile;
} mobo_depthwise_packed;

void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output);
void mobo_depthwise_w4(const mobo_depthwise *layer, const int8_t *input, int8_t *output);
void mobo_depthwise_w8a16(const mobo_depthwise *layer, const int16_t *input, int16_t *output);

/* `scratch`: room for the blocks of one tile. In files with MOBO_PACKED. */
void mobo_depthwise_w8_packed(const mobo_depthwise_packed *packed, const int8_t *input, int8_t *output,
                              int8_t *scratch);
void mobo_depthwise_w4_packed(const mobo_depthwise_packed *packed, const int8_t *input, int8_t *output,
                              int8_t *scratch);

#endif
