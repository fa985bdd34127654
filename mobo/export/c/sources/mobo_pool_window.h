/* Windows of a pooling, for the files that make its kernels. */
#ifndef MOBO_POOL_WINDOW_H
#define MOBO_POOL_WINDOW_H

#include "mobo_pool.h"

/* The part of a window inside the map. */
typedef struct {
  const mobo_element *start;
  int height, width, row_elements;
} mobo_window;

MOBO_INLINE mobo_window mobo_pool_window(const mobo_pool *layer, const mobo_element *input, int row, int column) {
  const int y = row * layer->stride_height - layer->pad_top, x = column * layer->stride_width - layer->pad_left;
  const int top = y < 0 ? 0 : y, left = x < 0 ? 0 : x;
  const int below = y + layer->kernel_height, beyond = x + layer->kernel_width;
  mobo_window window;
  window.height = (below < layer->in_height ? below : layer->in_height) - top;
  window.width = (beyond < layer->in_width ? beyond : layer->in_width) - left;
  window.row_elements = layer->in_width * layer->channels;
  window.start = input + top * window.row_elements + left * layer->channels;
  return window;
}

#endif
