/* Maximum pooling, for the files that make its widths. */
#ifndef MOBO_MAX_POOL_BODY_H
#define MOBO_MAX_POOL_BODY_H

#include "mobo_pool_window.h"

MOBO_INLINE void mobo_maximum_one(const mobo_window *window, int channels, mobo_element *output) {
  const mobo_element *row = window->start;
  int32_t most = MOBO_LEAST;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const mobo_element *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      most = *element > most ? *element : most;
    }
  }
  *output = (mobo_element)most;
}

#if MOBO_DSP && !defined(MOBO_INT16)
/* Four channels at once: a subtraction byte by byte leaves behind which byte is the larger. */
MOBO_INLINE void mobo_maximum_four(const mobo_window *window, int channels, int8_t *output) {
  const int8_t *row = window->start;
  uint32_t most = 0x80808080u;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const int8_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      const uint32_t word = mobo_load(element);
      uint32_t difference;
      __asm__("ssub8 %0, %2, %1\n\tsel %1, %2, %1" : "=&r"(difference), "+r"(most) : "r"(word) : "cc");
    }
  }
  __builtin_memcpy(output, &most, sizeof most);
}
#elif MOBO_DSP
MOBO_INLINE void mobo_keep_larger(uint32_t *most, const int16_t *pair) {
  uint32_t difference;
  __asm__("ssub16 %0, %2, %1\n\tsel %1, %2, %1" : "=&r"(difference), "+r"(*most) : "r"(mobo_load(pair)) : "cc");
}

/* The same, half a word each. */
MOBO_INLINE void mobo_maximum_four(const mobo_window *window, int channels, int16_t *output) {
  const int16_t *row = window->start;
  uint32_t most[2] = {0x80008000u, 0x80008000u};
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_elements) {
    const int16_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      mobo_keep_larger(&most[0], element);
      mobo_keep_larger(&most[1], element + 2);
    }
  }
  __builtin_memcpy(output, most, sizeof most);
}
#endif

MOBO_INLINE void mobo_maximum(const mobo_pool *layer, const mobo_element *input, mobo_element *output) {
  int row, column;
  for (row = 0; row < layer->out_height; ++row) {
    for (column = 0; column < layer->out_width; ++column) {
      mobo_window window = mobo_pool_window(layer, input, row, column);
      int left = layer->channels;
#if MOBO_DSP
      for (; left >= 4; left -= 4, window.start += 4, output += 4) {
        mobo_maximum_four(&window, layer->channels, output);
      }
#endif
      for (; left > 0; --left, ++window.start) {
        mobo_maximum_one(&window, layer->channels, output++);
      }
    }
  }
}

#endif
