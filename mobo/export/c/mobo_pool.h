/* Average and maximum over windows; what lies outside the map does not count. */
#ifndef MOBO_POOL_H
#define MOBO_POOL_H

#include "mobo_arithmetic.h"

typedef struct {
  uint16_t in_height, in_width, channels;
  uint16_t out_height, out_width;
  uint16_t kernel_height, kernel_width;
  uint16_t stride_height, stride_width;
  uint16_t pad_top, pad_left;
} mobo_pool;

/* The part of a window inside the map. */
typedef struct {
  const int8_t *start;
  int height, width, row_bytes;
} mobo_window;

MOBO_INLINE mobo_window mobo_pool_window(const mobo_pool *layer, const int8_t *input, int row, int column) {
  const int y = row * layer->stride_height - layer->pad_top, x = column * layer->stride_width - layer->pad_left;
  const int top = y < 0 ? 0 : y, left = x < 0 ? 0 : x;
  const int below = y + layer->kernel_height, beyond = x + layer->kernel_width;
  mobo_window window;
  window.height = (below < layer->in_height ? below : layer->in_height) - top;
  window.width = (beyond < layer->in_width ? beyond : layer->in_width) - left;
  window.row_bytes = layer->in_width * layer->channels;
  window.start = input + top * window.row_bytes + left * layer->channels;
  return window;
}

void mobo_average_pool(const mobo_pool *layer, const int8_t *input, int8_t *output);
void mobo_max_pool(const mobo_pool *layer, const int8_t *input, int8_t *output);

#endif
