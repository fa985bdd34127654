/* Average pooling, for the files that make its widths. */
#ifndef MOBO_AVERAGE_POOL_BODY_H
#define MOBO_AVERAGE_POOL_BODY_H

#include "mobo_pool_window.h"

/* The mean of `count` values with this sum, halves away from zero. */
MOBO_INLINE mobo_element mobo_mean(int32_t sum, int32_t count) {
  return (mobo_element)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);
}

MOBO_INLINE void mobo_average_one(const mobo_window *window, int channels, mobo_element *output) {
  const mobo_element *row = window->start;
  int32_t sum = 0;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const mobo_element *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      sum += *element;
    }
  }
  *output = mobo_mean(sum, window->height * window->width);
}

#if MOBO_DSP && !defined(MOBO_INT16)
/* Four channels at once; 16-bit sums hold windows of up to 255 elements. */
MOBO_INLINE void mobo_average_four(const mobo_window *window, int channels, int8_t *output) {
  const int32_t count = window->height * window->width;
  const int8_t *row = window->start;
  int16x2_t even = 0, odd = 0;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const int8_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      const uint32_t word = mobo_load(element);
      even = __sadd16(even, mobo_even(word));
      odd = __sadd16(odd, mobo_odd(word));
    }
  }
  output[0] = mobo_mean((int16_t)even, count);
  output[1] = mobo_mean((int16_t)odd, count);
  output[2] = mobo_mean(even >> 16, count);
  output[3] = mobo_mean(odd >> 16, count);
}
#elif MOBO_DSP
/* Four channels at once, from two loads. */
MOBO_INLINE void mobo_average_four(const mobo_window *window, int channels, int16_t *output) {
  const int32_t count = window->height * window->width;
  const int16_t *row = window->start;
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const int16_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      const int32_t pair = (int32_t)mobo_load(element), next = (int32_t)mobo_load(element + 2);
      s0 += (int16_t)pair;
      s1 += pair >> 16;
      s2 += (int16_t)next;
      s3 += next >> 16;
    }
  }
  output[0] = mobo_mean(s0, count);
  output[1] = mobo_mean(s1, count);
  output[2] = mobo_mean(s2, count);
  output[3] = mobo_mean(s3, count);
}
#endif

MOBO_INLINE void mobo_average(const mobo_pool *layer, const mobo_element *input, mobo_element *output) {
  int row, column;
  for (row = 0; row < layer->out_height; ++row) {
    for (column = 0; column < layer->out_width; ++column) {
      mobo_window window = mobo_pool_window(layer, input, row, column);
      int left = layer->channels;
#if MOBO_DSP
      if (sizeof *input > 1 || window.height * window.width <= 255) {
        for (; left >= 4; left -= 4, window.start += 4, output += 4) {
          mobo_average_four(&window, layer->channels, output);
        }
      }
#endif
      for (; left > 0; --left, ++window.start) {
        mobo_average_one(&window, layer->channels, output++);
      }
    }
  }
}

#endif
